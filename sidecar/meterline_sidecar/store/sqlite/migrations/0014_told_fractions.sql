-- How many of the digits of `value` and `ours` stand behind the point: 1234 with a scale
-- of 3 is 1.234. Whole numbers, all that there was before, have 0.
ALTER TABLE outbox ADD COLUMN scale INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reconciliations ADD COLUMN scale INTEGER NOT NULL DEFAULT 0;
