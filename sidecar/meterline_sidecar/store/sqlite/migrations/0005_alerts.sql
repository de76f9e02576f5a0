-- Alerts that were raised, and whether the webhook was told. The unique key is what
-- makes each of them one alert, however often it is looked for.
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  rule TEXT NOT NULL,
  customer TEXT NOT NULL,
  since_ms INTEGER NOT NULL,        -- of the period, or the day, that it is about
  level INTEGER NOT NULL,           -- the percentage reached; 0 for other kinds
  kind TEXT NOT NULL,
  message TEXT NOT NULL,            -- for people
  body TEXT NOT NULL,               -- JSON: what the webhook is told
  raised_ms INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'shown')),
  attempts INTEGER NOT NULL DEFAULT 0,
  next_ms INTEGER NOT NULL DEFAULT 0,
  delivered_ms INTEGER,
  error TEXT,
  UNIQUE (rule, customer, since_ms, level)
) STRICT;
CREATE INDEX alerts_pending ON alerts (next_ms) WHERE state = 'pending';
