-- Invoices and credit notes as documents: who sent them to whom, under which number.
-- Appended and never changed. Numbers of a series are 1, 2, 3, ... without holes: the
-- next one is taken in the transaction that writes the row.
CREATE TABLE documents (
  id INTEGER PRIMARY KEY,
  series TEXT NOT NULL,          -- what the number is written behind: INV-
  number INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
  invoice_id INTEGER NOT NULL,   -- the final invoice that it is of
  customer TEXT NOT NULL,        -- and its customer and period
  period TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount TEXT NOT NULL,          -- decimal text: what is due by it; of a credit note below 0
  issued_ms INTEGER NOT NULL,
  details TEXT NOT NULL,         -- JSON: seller and buyer as they were, when it is due
  UNIQUE (series, number)
) STRICT;
CREATE UNIQUE INDEX documents_of_invoices ON documents (invoice_id)
  WHERE kind = 'invoice';
CREATE INDEX documents_by_invoice ON documents (invoice_id, id);
CREATE INDEX documents_by_customer ON documents (customer, id);
CREATE INDEX documents_by_period ON documents (period, id);

-- What is final already gets its numbers in the order in which it became so. Who sent
-- it to which address is not known any more, nor when it was due.
INSERT INTO documents (
  series, number, kind, invoice_id, customer, period, currency, amount, issued_ms, details
)
SELECT
  'INV-', row_number() OVER (ORDER BY id), 'invoice', id, customer, period,
  coalesce(document ->> '$.invoice.currency', ''), coalesce(document ->> '$.due', '0'),
  finalized_ms, json_object(
    'buyer', json_object('name', coalesce(document ->> '$.customer_name', '')),
    'time_zone', coalesce(document ->> '$.agreement.time_zone', 'UTC'),
    'also_due', json(coalesce(document -> '$.also_due', '[]'))
  )
FROM invoices ORDER BY id;

-- The journal takes these rows in, once: see Journal.adopt.
INSERT INTO facts (name, value)
SELECT 'journal adopts documents', max(id) FROM documents HAVING max(id) IS NOT NULL;
