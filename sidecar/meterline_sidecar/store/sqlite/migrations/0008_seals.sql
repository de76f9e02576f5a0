-- A keyed digest over each row of what Stripe was told and what it said, which change on
-- their way: made anew in the transaction that changes a row. NULL: changed within this
-- transaction, and not sealed yet.
ALTER TABLE outbox ADD COLUMN seal BLOB;
ALTER TABLE outbox_cursor ADD COLUMN seal BLOB;
ALTER TABLE reconciliations ADD COLUMN seal BLOB;
ALTER TABLE stripe_events ADD COLUMN seal BLOB;
CREATE INDEX outbox_unsealed ON outbox (id) WHERE seal IS NULL;
CREATE INDEX reconciliations_unsealed ON reconciliations (start_ms) WHERE seal IS NULL;
CREATE INDEX stripe_events_unsealed ON stripe_events (id) WHERE seal IS NULL;
