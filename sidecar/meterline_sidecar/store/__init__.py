"""Every SQL statement, a port, and the drivers behind it.

Owns the tables and what is asked of them. One documented function is one statement,
or a few that belong together; the transaction is the caller's.

Does not own what the rows mean: no rule of billing, and no word of HTTP, is decided
here.

A caller opens a transaction on the ``port`` and passes it to functions of the modules
beside it. Those know no driver: ``open`` picks one, ``sqlite`` for a file and ``postgres``
for a database on a server. A statement is written once, in words that both databases have;
``dialects`` holds what they say differently.

A migration has a file in both drivers, of the same number and for the same tables;
``tests/store/test_parity.py`` compares what they come to.
"""
