"""A worked example: an API with three customers, served and billed for real.

Owns the example's app, its configuration, its prices, and the processes that run it
in a temporary directory.

Does not own anything that it shows: it starts the same sidecar and the same middleware
as everybody else, and no other room needs it.

How a request passes through: ``worker`` calls ``api`` as a server would, the
middleware meters it, and ``stage`` has started the sidecar that ingests and bills it.
"""
