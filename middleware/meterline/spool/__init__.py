"""The spool: where a worker's events wait, safe from its death, until they are acked.

It owns the files, their format, and who may write, read and delete them. It knows
nothing of requests (``meter.py``), of connections (``link.py``) or of time limits
(``shipper.py``).

What shaped it
    Recording runs inside somebody's request: no lock, no system call, no allocation
    beyond the record. A ``kill -9`` at any instruction loses no recorded event, and
    a record that was half written is not one. Nothing in a file is trusted by the
    process that finds it. The disk is bounded, and an event that found no room is
    counted. Power loss may cost what was written since the last sync.

On the disk
    ``<spool dir>/<producer id>/``, one producer for each life of a worker process::

        producer        4 KiB: counters, the ledger that takes the events, and the
                        Hello; a flock on it means "alive"
        00000001.seg    64 bytes of header, then records, then zeros
        00000002.seg

    The directory is made as ``<producer id>.new`` and renamed when its lock is taken
    and its header written, so that nobody ever sees a spool without an owner.

    A record (``wire.py``) is ``u32 length | u32 crc32 | u32 seq | MessagePack``, and
    goes over the socket byte for byte as it stands here. Its number is its
    *position*: threads may write in another order than they took their numbers. The
    ``seq`` inside it, the low 32 bits, only helps to find the place again after
    damage. A *marker* is a record with the highest bit of its length set; it stands
    for events that were dropped, and takes their numbers, so that there is never a
    hole. Space is taken and zeroed when a segment is made: the first length of 0 is
    the end, and no counter is written when an event is recorded.

The life of an event
    1. ``Writer.append`` takes a number and writes the record with one call of the
       map, which nothing can interrupt. It is safe now: the pages are the kernel's.
    2. When a segment is full the writer seals it and goes on in the spare one that
       the shipping thread has made ready. The first is small, for processes that are
       short, and has no spare before it is half full. Without a spare it makes one;
       without room on the disk, one in memory; without room below ``spool_bytes_max``,
       or below what all spools may take together, the event is dropped, and counted in
       ``producer``.
    3. ``Reader.scan`` finds what is new, numbers it by position, and adds it to the
       backlog: an index of byte ranges, never a copy. Sealed segments that wait give
       back their map and their descriptor until they are sent.
    4. A link sends the ranges in order. After a new connection the sidecar says which
       ledger it has, which is noted in ``producer`` before anything is sent, and how
       far it got; ``Reader.resume`` goes on behind that.
    5. ``Reader.ack`` forgets everything up to a number that is on the sidecar's disk
       and deletes each segment of which nothing is left.
    6. What waits in memory only is brought to files as soon as that can be done:
       ``Spool.maintain`` tries it every ten seconds.
    7. At the end of a worker that has shipped everything the directory is deleted.
       Otherwise it stays. Once the process is gone so is its flock: the next worker,
       or the sidecar, takes it as a ``DeadSpool``, notes its ledger in it unless
       another one is noted, which it then leaves it to, checks every CRC, sends what
       is left, with what is missing as a loss, and deletes it.

Where to read on
    ============== ================================================================
    living.py      a living producer's spool: opened, kept up, closed, deleted
    writer.py      the requests' side
    reader.py      the shipping thread's side
    dead.py        what a dead worker left: found, locked, read, deleted
    room.py        how much all spools of one directory may take together
    scan.py        from bytes to numbered runs and losses, damage included
    segment.py     one file of records, and markers
    producer_file  identity, counters, and the lock
    ============== ================================================================
"""
