-- A period whose invoice is void can be invoiced again, so that there may be several
-- invoices of one period: all but one of them void. The table is made anew without its
-- constraint; rows and ids stay as they are.
CREATE TABLE invoices_again (
  id INTEGER PRIMARY KEY,
  customer TEXT NOT NULL,
  period_start_ms INTEGER NOT NULL,
  period_end_ms INTEGER NOT NULL,
  finalized_ms INTEGER NOT NULL,
  document TEXT NOT NULL,        -- the invoice as JSON, to the last explanation
  period TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO invoices_again
  (id, customer, period_start_ms, period_end_ms, finalized_ms, document, period)
SELECT id, customer, period_start_ms, period_end_ms, finalized_ms, document, period
FROM invoices;
DROP TABLE invoices;
ALTER TABLE invoices_again RENAME TO invoices;
CREATE INDEX invoices_by_customer ON invoices (customer, period_start_ms);
CREATE INDEX invoices_by_period ON invoices (period, customer);
CREATE INDEX invoice_states_void ON invoice_states (invoice_id) WHERE state = 'void';

-- Whatever a program does: of one customer and period, one invoice is not void.
CREATE TRIGGER invoices_once BEFORE INSERT ON invoices
WHEN EXISTS (
  SELECT 1 FROM invoices i
  WHERE i.customer = NEW.customer
    AND (i.period = NEW.period OR i.period_start_ms = NEW.period_start_ms)
    AND i.id NOT IN (SELECT s.invoice_id FROM invoice_states s WHERE s.state = 'void')
)
BEGIN
  SELECT RAISE(ABORT, 'this period has an invoice that is not void');
END;

-- What was paid of invoices, and given back: appended, never changed.
CREATE TABLE payments (
  id INTEGER PRIMARY KEY,
  invoice_id INTEGER NOT NULL,
  customer TEXT NOT NULL,
  key TEXT,                      -- what whoever recorded it calls it: it counts once
  currency TEXT NOT NULL,
  amount TEXT NOT NULL,          -- decimal text; below 0 it was given back
  paid_on TEXT NOT NULL,         -- a date
  reference TEXT NOT NULL,       -- what the bank says, such as the number of a transfer
  recorded_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX payments_by_invoice ON payments (invoice_id);
CREATE INDEX payments_by_customer ON payments (customer);
CREATE UNIQUE INDEX payments_by_key ON payments (invoice_id, key) WHERE key IS NOT NULL;
