-- How many rows were ever added. Rows are never deleted: what is not in another state
-- is confirmed, and that is nearly all of them, too many to count for every look.
ALTER TABLE outbox_cursor ADD COLUMN added INTEGER NOT NULL DEFAULT 0;
UPDATE outbox_cursor SET added = (SELECT count(*) FROM outbox);

-- Part of a row's Idempotency-Key. A generation is one version of the meters.
ALTER TABLE outbox RENAME COLUMN generation TO key_no;
