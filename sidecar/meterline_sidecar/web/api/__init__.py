"""The operations of the HTTP API: each is a typed function, and nothing else.

Owns: what can be asked and what comes back, one module a subject; ``all.py`` lists
every operation.

Does not own: the rules behind an answer, or the shape of it (``answers/``).

How one question passes through: ``operations.py`` calls the function with its query
struct; the function asks the sidecar's parts, and copies what they return into a struct
of ``answers/``, with times as text. Errors of the domain rise: ``problems.py`` knows
what each is answered with.
"""
