"""What others cost that measure requests, beside what Meterline costs.

Each is set up as its own documentation says, in an environment of its own that the
command makes (``.peers``), against servers on this machine that take whatever they send.

    python -m benchmarks.peers            # prints
    make bench-peers                      # writes docs/benchmarks.md and its picture, too

``apps`` has the peers, ``in_process``, ``served`` and ``killed`` what is measured,
``page`` and ``picture`` what becomes of it, ``stub`` the server at their other end.
"""
