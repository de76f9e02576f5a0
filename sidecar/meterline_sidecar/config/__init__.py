"""What the sidecar is told: ``meterline.toml``, and the price list that it names.

Owns: the shape of the file (each key, its default, its bounds and its meaning stand
once, as a field of a struct), reading it, every message about it, the reference and the
schema that are made of it.

Does not own: what is done about any of it, and the shape of ``pricing.toml``, which is
``meterline_pricing``'s.

How one key passes through: a field in ``shape.py`` or ``alerts.py`` says what it is;
``keys.py`` makes a key of it; ``tables.py`` puts keys into tables and checks them
against each other; ``read.py`` reads the file by them, lets the environment stand above
it (``places.py``), and asks ``across.py`` and ``prices.py`` whether the tables and the
two files fit; ``reference.py`` writes the same keys down for people and editors.
"""
