"""The structs with which the HTTP API answers, which the command line reads.

Owns: the shape of every answer. A field that is renamed here fails in the type checker
on both sides, not in a user's terminal.

Does not own: how an answer comes about (``api/``), or how it is printed (``cli/``).

How one answer passes through: a function of ``api/`` fills a struct of this room; it
travels as JSON; ``cli/client.py`` reads it back into the same struct. So nothing here
imports more than msgspec, prices, and the words of the configuration and the store:
``meterline status`` must not wait for a web server's imports.
"""
