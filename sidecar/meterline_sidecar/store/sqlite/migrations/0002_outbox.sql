-- What Stripe must still be told, and what it has been told.
-- One row is one part of one UTC hour of one customer and meter. What a row says
-- never changes; where it is on its way (state and below) does.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    stripe_customer TEXT,               -- NULL: parked until the mapping exists
    meter TEXT NOT NULL,
    event_name TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('set', 'delta')),
    hour_ms INTEGER NOT NULL,           -- start of the hour, also the event's time
    part INTEGER NOT NULL,              -- 0, 1, 2 ...: later parts correct earlier ones
    value INTEGER NOT NULL,             -- the hour's total (set) or its change (delta)
    identifier TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'pending', 'sending', 'confirmed', 'unresolved',
        'parked', 'dead', 'expired', 'rejected'
    )),
    generation INTEGER NOT NULL DEFAULT 0,  -- of the Idempotency-Key
    attempts INTEGER NOT NULL DEFAULT 0,
    doubt_ms INTEGER,                   -- first send whose outcome is not known
    sent_ms INTEGER,                    -- last send
    next_ms INTEGER NOT NULL DEFAULT 0, -- not before, by the clock on the wall
    settled_ms INTEGER,
    request_id TEXT,
    batch_key TEXT,                     -- of the stream's request that it went with
    reason TEXT,
    replaced_by INTEGER REFERENCES outbox (id),
    UNIQUE (customer, event_name, hour_ms, part)
) STRICT;

-- Covers the search for what is due. Whole, as no planner knows that one state is
-- among those of a partial index's list.
CREATE INDEX outbox_state
ON outbox (state, event_name, stripe_customer, id, next_ms);

CREATE INDEX outbox_series ON outbox (event_name, stripe_customer, hour_ms);

CREATE INDEX outbox_batch ON outbox (batch_key) WHERE batch_key IS NOT NULL;

-- How far changes of usage have been noted. One row.
CREATE TABLE outbox_cursor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    install TEXT NOT NULL,              -- random; part of every identifier
    event_id INTEGER NOT NULL,          -- changes up to this event are in outbox_hours
    is_live INTEGER,                    -- mode of the key that it reports with
    sends INTEGER NOT NULL DEFAULT 0,   -- rows ever sent; also in a file beside
    suspect_ms INTEGER NOT NULL DEFAULT 0  -- what is from before may have been sent
) STRICT;

-- Hours whose usage changed and must be compared with the outbox once they close.
CREATE TABLE outbox_hours (
    hour_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    PRIMARY KEY (hour_ms, customer)
) STRICT, WITHOUT ROWID;

-- What Stripe told us by webhook: stored before it is answered, once for each id.
CREATE TABLE stripe_events (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('stored', 'done')),
    errors INTEGER,                     -- meter events that Stripe says it dropped
    found INTEGER,                      -- how many of them are known by row
    reason TEXT
) STRICT;
CREATE INDEX stripe_events_open ON stripe_events (received_ms)
WHERE state = 'stored';

-- The last comparison of each customer, meter and month with Stripe's own totals.
CREATE TABLE reconciliations (
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    event_name TEXT NOT NULL,
    stripe_customer TEXT NOT NULL,
    ours INTEGER NOT NULL,              -- confirmed
    theirs TEXT NOT NULL,               -- decimal text
    unresolved INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    checked_ms INTEGER NOT NULL,
    PRIMARY KEY (start_ms, event_name, stripe_customer)
) STRICT, WITHOUT ROWID;
