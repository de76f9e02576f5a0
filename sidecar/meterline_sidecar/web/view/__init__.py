"""What pages have in common: templates, charts, and how numbers are written.

Owns: the template environment and its filters (``render.py``), charts as SVG and as
data for scripts (``charts.py``), and which meters are shown over time (``series.py``).

Does not own: any page. ``dashboard/`` and ``portal/`` import this room, and neither
imports the other.

How one chart passes through: a page reads a series, ``charts.py`` draws it, and
``render.py`` puts it into the page.
"""
