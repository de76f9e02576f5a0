"""Many hosts, one ledger: edges send their events on to one centre.

Owns what passes between two sidecars: what of an edge's ledger is sent, over which
connection, and how far that has come; at the centre, who may connect, which edges there
are, how they stand, and what people decide about them.

Does not own the events themselves (``ingest`` takes them in, at an edge and at the
centre), nor when a period is closed (``billing`` asks here what may still be missing).

How a batch passes through, at an edge: ``backlog`` reads it from the ledger and makes
frames of it again with ``records`` (``batches`` has it where it left the ledger), and
``forwarder`` sends these and waits for the acks. At the centre: ``door`` lets an edge in,
``session`` hands its frames to ``ingest`` and acks what was committed; ``edges`` knows all of them, ``edge`` how one stands. ``tls``
is both sides' end of the wire.

Where an edge keeps its events, ``roller`` stores what they come to, by ``rolling``, as
events of the ledger's own, and these alone are sent. By which meters, and what of that
the centre has, is said by ``countings``. ``filing`` has raw events written as files and tells
of these, and ``noted`` keeps at the centre what was told. For what is in no file yet
``raw_events`` asks the edge: ``asking`` at the centre, and ``telling`` at the edge. Where
that is connected to another centre, ``questions`` asks through that one.
"""
