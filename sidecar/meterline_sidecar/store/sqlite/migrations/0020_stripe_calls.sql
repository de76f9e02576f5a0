-- What Stripe is told of final invoices, call by call, in order: a draft, an item for
-- each line, then that it is final; later credit notes and what else becomes of it.
-- What a row asks for never changes; where it is on its way (state and below) does.
CREATE TABLE stripe_calls (
  id INTEGER PRIMARY KEY,
  invoice_id INTEGER NOT NULL,
  step TEXT NOT NULL CHECK (step IN (
    'invoice', 'item', 'finalize', 'send', 'credit_note', 'void', 'uncollectible', 'paid',
    'delete'
  )),
  ref TEXT NOT NULL,               -- what it stands for at Stripe, in metadata
  stripe_customer TEXT NOT NULL,
  params TEXT NOT NULL,            -- JSON: what is asked for
  created_ms INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'done', 'held', 'dropped')),
  key_no INTEGER NOT NULL DEFAULT 0,   -- of the Idempotency-Key
  attempts INTEGER NOT NULL DEFAULT 0,
  doubt_ms INTEGER,                -- first send whose outcome is not known
  next_ms INTEGER NOT NULL DEFAULT 0,  -- not before, by the clock on the wall
  object_id TEXT,                  -- what Stripe made of it
  reason TEXT,
  seal BLOB,
  UNIQUE (invoice_id, step, ref)
) STRICT;
CREATE INDEX stripe_calls_open ON stripe_calls (state, next_ms, id);
CREATE INDEX stripe_calls_objects ON stripe_calls (object_id) WHERE object_id IS NOT NULL;
