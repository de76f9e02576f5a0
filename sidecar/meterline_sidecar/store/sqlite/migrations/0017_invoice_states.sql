-- What became of a final invoice: a row to each step, with when, who and why; never
-- changed. An invoice that is older than this table has no row for having become final.
CREATE TABLE invoice_states (
  id INTEGER PRIMARY KEY,
  invoice_id INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('final', 'sent', 'paid', 'uncollectible', 'void')),
  at_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  cause TEXT NOT NULL
) STRICT;
CREATE INDEX invoice_states_by_invoice ON invoice_states (invoice_id);
