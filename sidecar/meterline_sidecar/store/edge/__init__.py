"""What one host has seen, and what it adds up to.

Owns the SQL of producers, raw events, losses and batches, of the hours that they lie
in, and of the usage that is counted from them. These tables stay in the SQLite file
of the host that took the events in, so these statements need no second driver.

Does not own what is billed from usage: everything beside this package can stand under
another database (see ``store``).

A batch passes through ``events`` on its way in; ``usage`` reads it there and writes
what it adds up to with ``rollups``; ``event_log`` shows it, ``gaps`` says what is still
missing, ``held`` what is not counted for now, and ``integrity`` checks all of it. What is
over is ``packed``; when it is old, ``archive`` takes it out, and ``begin`` says where the rest begins.
"""
