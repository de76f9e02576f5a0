"""From events to usage: what they add up to, how far that is counted, and whose it is.

Owns: the windows, days and totals that meters come to (``fold``, ``aggregate``), how far
they are counted in a snapshot (``counted``), usage of customers and over time
(``customer_usage``, ``series``), and which customer a subject belongs to (``customers``).

Does not own: raw events (``ingest``), what usage costs (``billing``), the meters
themselves (``config``) or how an aggregation adds up (``meters``).

One thing on its way: ``aggregate`` reads the events behind its cursor, ``fold`` turns them
into what they add to each place, and one transaction stores that together with the new
cursor. Whoever reads usage opens a ``counted.snapshot`` and says how far it is counted.
"""
