"""The SQLite driver.

Owns the connections to the ledger's file, its settings, what an error of SQLite means
for a caller, and the schema: numbered migrations that are only ever added.

Does not own any statement about rows; those are in ``store`` and ``store.edge``.

A ledger is opened by ``driver``, which lets ``migrate`` check whose file it is and
bring it up to date, and hands out transactions from then on.
"""
