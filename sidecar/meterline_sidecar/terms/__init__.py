"""What was agreed, and from when.

Owns: customers, their plans and prices of their own, the subjects that they pay for,
their zone, first and last day; plan versions; meters: each a row of the ledger that
says from which time of use it holds and when it was learned. The difference between
what the files say and what holds. Rows are added, never changed.

Does not own: reading files (``config``), what usage comes to (``billing``), what was
used (``usage``).

A change passes through ``diff`` (what would change; ``offers`` for plans and meters,
``from_when`` for the time from which it holds), ``record`` (the rows, in one
transaction with the subjects that change hands), ``book`` (all rows in memory, asked
for any moment), and from there through ``agreed`` (the plan of each stretch of a
billing period; ``beside`` for plans beside it) and ``calendar`` (the periods
themselves, over the ``days`` of a customer's zone and the ``grids`` of their plans).
"""
