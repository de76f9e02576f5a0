"""Everything at once: real apps, real faults, one oracle.

    make soak                                         two hours of this, then the fault suite
    METERLINE_SOAK_S=300 python -m tests.soak         five minutes of it
    SEED=7 METERLINE_SOAK_S=300 python -m tests.soak  with the moments of another run

Three apps (the real middleware under uvicorn, two workers each, their clocks minutes
apart) serve requests, threads, streams and websockets under a steady load, while

* workers, whole apps and the sidecar are killed, stopped and continued, ended and
  started, and the sidecar's disk is full or refuses to write (``blows``),
* ``meterline.toml`` and ``pricing.toml`` change and are loaded: prices, plans, new
  customers, a subject that moves, meters (``book``, ``edits``),
* pages, the API and ``backup``, ``verify`` and ``doctor`` are used (``readers``).

At the end everything comes to rest and one oracle judges (``oracle``, ``bills``): what
each worker noted in a file of its own (``notes``) is in the ledger once, under its own
subject; sums are those of the events; everybody is billed what the notes come to by
hand; the chain verifies; and the sidecar's memory did not grow (``memory``).

Settings: ``METERLINE_SOAK_S`` (7200), ``METERLINE_SOAK_PER_S`` (300 events a second),
``SEED``, and ``METERLINE_SOAK_DIR``, where its folder is made. It needs root for the full
disk, says so and goes on without. It listens on Unix sockets alone, ends by itself, and
ends only what it has started.

How to read a failure. Each line that begins with FAILED is one law that does not hold,
with what was found. The folder is kept then, and its path is the last line:

=================  ======================================================================
``journal.txt``    all blows, edits and findings, with seconds since the start
``sidecar.log``    the sidecar, over all its lives
``APP.log``        each app
``notes/``         one file a worker: ``B number ms subject units is_call`` begun, ``U``
                   units of a stream, ``E number ms`` over. The number is the quantity ``n``
``oracle.db``      ``told`` (from the notes) beside ``found`` (from the ledger), for SQL
``disk/``          the ledger; ``meterline verify --config meterline.toml`` looks at it
=================  ======================================================================

A number that is missing: look for it in ``told``, for its worker's last lines in
``notes/``, and for that second in ``journal.txt``. The moments of the blows come from the
seed; when the kernel runs which process does not, so a failure may need several runs.
"""
