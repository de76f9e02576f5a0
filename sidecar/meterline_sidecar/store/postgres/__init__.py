"""The PostgreSQL driver, for a centre whose ledger is a database on a server.

Owns the connections, what an error of PostgreSQL means for a caller, how a statement
that was written for both databases is put to this one, and the schema: numbered
migrations that are only ever added, with the numbers of SQLite's.

Does not own any statement about rows; those are in ``store`` and ``store.edge``.

A ledger is opened by ``driver``, which lets ``connect`` reach the server and ``migrate``
check whose database it is and bring it up to date. It hands out transactions from then
on, in which ``dialect`` puts each statement and each text in PostgreSQL's form.

There is one writer at a time, in however many processes: each transaction that writes
begins by locking the one row of the table ``writer``. So rows are committed in the order
of their ids, and nothing that another driver promises has to be thought of anew. No state
is left with a session between transactions: a pooler may stand in between.
"""
