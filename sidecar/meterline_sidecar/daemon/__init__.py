"""The process: which parts there are, in which order they open, and when it ends.

Owns: the lock of the database, the directories, the signals, the HTTP listener, the
choice of every implementation (no other room makes one), and `meterline doctor`.

Does not own: what any part does. It opens them, plans their jobs, and closes them.

One start: `run` takes the lock and the signals; `assemble` opens the ledger, then the
parts in the order in which an event meets them (`assemble_stripe` those for Stripe);
`listen` answers HTTP; on SIGTERM the same way back, down to a last checkpoint.
"""
