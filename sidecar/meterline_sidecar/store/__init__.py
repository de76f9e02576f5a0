"""Every SQL statement, a port, and the drivers behind it.

Owns the tables and what is asked of them. One documented function is one statement,
or a few that belong together; the transaction is the caller's.

Does not own what the rows mean: no rule of billing, and no word of HTTP, is decided
here.

A caller opens a transaction on the ``port`` and passes it to functions of the modules
beside it. Those know no driver: ``open`` picks one, and the only one there is so far
is ``sqlite``. The modules directly in this package say nothing that PostgreSQL 15
refuses or does otherwise, given a schema in which integers are BIGINT and texts are
compared by their bytes (COLLATE "C"). The tables of ``edge`` stay on SQLite.
"""
