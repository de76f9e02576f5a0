-- Who used something, and who pays for them (set from the configuration).
CREATE TABLE subjects (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  customer TEXT
) STRICT;
CREATE INDEX subjects_by_customer ON subjects (customer) WHERE customer IS NOT NULL;

-- A method and a route template; '' where there is none.
CREATE TABLE endpoints (
  id INTEGER PRIMARY KEY,
  method TEXT NOT NULL,
  route TEXT NOT NULL,
  UNIQUE (method, route)
) STRICT;

-- One row for each worker process that ever reported, kept for ever: last_seq is
-- the watermark that makes every resend count once.
CREATE TABLE producers (
  id INTEGER PRIMARY KEY,
  producer TEXT NOT NULL UNIQUE,
  app TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  spool TEXT NOT NULL,
  recorded_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  ingested INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  unattributed INTEGER NOT NULL,
  held INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  is_closed INTEGER NOT NULL
) STRICT;

-- Append-only. The id is the order in which we learned of it. No secondary index:
-- one costs half of the ingest rate and grows worse with the table.
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  producer_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,   -- 0: unattributed
  endpoint_id INTEGER NOT NULL,
  status INTEGER NOT NULL,
  duration_us INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  quantities TEXT                -- a JSON object of integers, or NULL
) STRICT;

-- Numbers that will never be events: lost at the app, or refused here (then with
-- the bytes that were refused).
CREATE TABLE losses (
  id INTEGER PRIMARY KEY,
  producer_id INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  reason TEXT NOT NULL,
  payload BLOB
) STRICT;

-- What was committed together, and the chain over it (see chain.py). The events are
-- first_event_id .. first_event_id + events - 1; the losses likewise.
CREATE TABLE batches (
  id INTEGER PRIMARY KEY,
  producer_id INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  first_event_id INTEGER NOT NULL,
  events INTEGER NOT NULL,
  first_loss_id INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  learned_ms INTEGER NOT NULL,
  mac BLOB NOT NULL
) STRICT;

-- The id range of the events of each UTC hour, so that a span of time is found
-- without an index on time. Late events widen a range; they are never outside it.
CREATE TABLE event_hours (
  hour_ms INTEGER PRIMARY KEY,
  first_event_id INTEGER NOT NULL,
  last_event_id INTEGER NOT NULL
) STRICT;

-- The meters of one version of the configuration, and how far they have counted.
-- A changed meter starts a new generation, which counts all events again.
CREATE TABLE generations (
  id INTEGER PRIMARY KEY,
  definition TEXT NOT NULL,      -- JSON: what the meters measure
  cursor INTEGER NOT NULL,       -- the last event counted
  last_success_ms INTEGER
) STRICT;

CREATE TABLE groups (
  id INTEGER PRIMARY KEY,
  labels TEXT NOT NULL UNIQUE    -- a JSON object: dimension to value
) STRICT;

-- Usage of a subject in a window of 15 minutes, every meter side by side.
CREATE TABLE usage (
  generation INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  window_ms INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  totals TEXT NOT NULL,          -- a JSON object: meter to its total
  last_event_id INTEGER NOT NULL,
  PRIMARY KEY (generation, subject_id, window_ms, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_change ON usage (generation, last_event_id);

-- The distinct values that a `unique` meter has seen in a window.
CREATE TABLE unique_values (
  generation INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  window_ms INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  meter TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (generation, subject_id, window_ms, group_id, meter, value)
) STRICT, WITHOUT ROWID;

-- Small facts about this ledger, such as the fingerprint of the customers' map.
CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
