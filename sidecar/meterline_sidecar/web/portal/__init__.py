"""The customer's own page: their usage, what it costs so far, and nobody else's anything.

Owns: who sees which page (the signed token, and no parameter), and what is shown there.

Does not own: what usage costs (``billing``), or what the next unit costs
(``meterline_pricing.next_unit``).

How one page passes through: ``page.py`` finds the customer by the token; ``data.py``
reads usage by day and the draft or final invoice in the customer's own calendar; the
same data goes out as HTML, JSON or CSV.
"""
