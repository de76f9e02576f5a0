-- Final invoices: written once and never changed. What is learned later becomes an
-- adjustment on a later invoice. One row to a customer and period, whatever the clock
-- does.
CREATE TABLE invoices (
  id INTEGER PRIMARY KEY,
  customer TEXT NOT NULL,
  period_start_ms INTEGER NOT NULL,
  period_end_ms INTEGER NOT NULL,
  finalized_ms INTEGER NOT NULL,
  document TEXT NOT NULL,        -- the invoice as JSON, to the last explanation
  UNIQUE (customer, period_start_ms)
) STRICT;
