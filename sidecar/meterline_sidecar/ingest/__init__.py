"""From a producer to COMMIT: the socket, and the spools of dead workers.

Owns the conversation with a worker, the one rule (a producer's numbers are accepted
in order, without gaps, once), what is stored of an event, and the group commit.

Does not own what events add up to (``usage``), nor the digest over a batch
(``ledger``), which it only writes.

How a batch passes through: ``receiver`` reads a frame, ``accept`` checks that its
numbers follow the watermark, ``decode`` turns its records into rows, and ``commit``
writes all batches that are waiting, their watermarks and their digests in one
transaction. Only then does the ack go out. ``dead_spools`` enters at ``accept``, as
if the dead worker had sent its events.
"""
