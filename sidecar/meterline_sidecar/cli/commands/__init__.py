"""The commands, a module each: ``meterline what-if`` is ``command`` in ``what_if.py``.

Owns: each command's options and what it prints.

Does not own: what several commands share, which is in ``cli/``.

How one command passes through: click calls ``command`` with what was typed; it asks,
prints for people (``tell_...``) or for programs (``--json``), and ends with an exit code
of ``cli/exits.py`` where there is something to be said by it.
"""
