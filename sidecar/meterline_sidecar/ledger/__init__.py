"""That what was committed stays as it was.

Owns the chain over committed batches and the head that is kept outside the database,
the verification of both and of everything that was added up, backups, and what
happens to a damaged ledger.

Does not own what is committed (``ingest``), what it adds up to (``usage``), nor what is
billed from it (``billing``).

``ingest`` links each batch to the one before by ``chain``. ``verify`` goes along these
links from the first to the head; ``backup`` copies the ledger and verifies the copy;
``quarantine`` puts a ledger aside that the database can no longer read.
"""
