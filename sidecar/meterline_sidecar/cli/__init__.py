"""The command line: what a person types and reads.

Owns: commands, their options, their texts and tables, and the exit codes.

Does not own: any rule of billing. A command asks the running sidecar (``client.py``), or
the room below that can answer without one, and prints what it is told.

How one command passes through: ``main.py`` knows every command by name and imports the
one that is called; the command reads its options, asks through ``client.py`` for a
struct of ``web/answers/``, and prints it as a table or as JSON (``output.py``). An error
becomes one line and an exit code (``exits.py``).
"""
