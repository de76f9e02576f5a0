-- Money given to a customer, or paid by them in advance, which pays for invoices.
-- Append-only: what is left of one is worked out from what invoices used (term_uses).
CREATE TABLE credits (
  id INTEGER PRIMARY KEY,
  customer TEXT NOT NULL,
  key TEXT,                      -- what whoever granted it calls it: it counts once
  kind TEXT NOT NULL CHECK (kind IN ('goodwill', 'prepaid')),
  title TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount TEXT NOT NULL,          -- decimal text
  priority INTEGER NOT NULL,     -- the lower one pays first
  starts TEXT NOT NULL,          -- the first day on which it pays; '': at once
  expires TEXT NOT NULL,         -- the last day; '': never
  granted_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX credits_by_customer ON credits (customer);
CREATE UNIQUE INDEX credits_by_key ON credits (customer, key) WHERE key IS NOT NULL;

-- Credits that pay for nothing more; what they have paid stays paid.
CREATE TABLE credit_ends (
  id INTEGER PRIMARY KEY,
  credit_id INTEGER NOT NULL UNIQUE,
  ended_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
