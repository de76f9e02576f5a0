"""Proof that what was committed is still what is there.

Owns the keyed chain over batches, the head that is kept outside the database,
verification, backups, the archive of what is old, and setting a damaged ledger aside.

Does not own what the rows mean: it neither counts usage nor bills it, and never
repairs a ledger. A person decides that.

How a batch passes through: ``chain`` computes its digest from the one before; after
the commit the newest digest becomes the head. At start-up the head is compared with
the end of the ledger, and a ledger that is shorter raises an alarm. ``verify`` walks
the chain from the first batch and counts usage again; ``backup`` copies and verifies.
Its plain events are made smaller by ``packing``. When it is old enough, ``archive`` moves
it to a file with all before it; ``archived`` reads it there. At an edge ``edge_files``
copies it to a file, which the centre reads with ``edge_events``, and ``edge_sums`` compares
with what came as usage; ``leaving_copies`` says which of these files it may leave for.
"""
