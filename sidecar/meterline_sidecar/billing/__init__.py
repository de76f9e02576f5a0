"""From usage to what is owed: drafts, final invoices, and what changes them later.

Owns: what a customer's usage costs under their plan (``drafts``), the document that is
kept (``statement``), when a period may be closed (``lifecycle``), what late events come to
(``late``), what becomes of a final invoice (``collection``), which of them Stripe collects
(``at_stripe``), and what everybody would owe right now (``running_totals``).

Does not own: counting (``usage``), the arithmetic of prices (``meterline_pricing``), or
what Stripe is told (``stripe``).

One thing on its way: a draft is drawn from one snapshot of usage; ``invoices`` adds the
adjustments of earlier periods, and closes a period in the transaction that draws it.
"""
