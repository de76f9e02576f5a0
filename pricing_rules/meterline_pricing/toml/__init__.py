"""TOML files with a known shape: read, checked and explained by the same tables.

Owns: which line a key stands on, what is said about a wrong one, what a table may hold
(its shape), and the schema and the reference that are made of a shape; and, by these,
``pricing.toml``.

Does not own: files (it takes their text), and the shape of any other file.

How one key passes through: ``lines.py`` finds its line, ``source.py`` reads its value as
some kind or notes why not, ``shape.py`` makes a table's values into what they stand for,
``price_shapes.py`` and ``plan_shapes.py`` say which tables there are, and ``load.py``
returns all of them or raises every problem at once. ``reference.py`` writes shapes down.
"""
