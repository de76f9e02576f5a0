-- All that a ledger is, as the migrations of SQLite up to this number make it. Integers
-- are BIGINT, bytes BYTEA, and texts are compared by their bytes. Later steps are files of
-- the same number in both folders.

-- The number of the next row: one more than the largest. There is one writer at a time
-- (see `writer`), so that this leaves no hole, which a sequence does when it is rolled back.
CREATE FUNCTION next_id(place TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  number BIGINT;
BEGIN
  EXECUTE format('SELECT coalesce(max(id), 0) + 1 FROM %I', place) INTO number;
  RETURN number;
END
$$;

-- A document as JSON. The one character that PostgreSQL has in no text is another in it.
CREATE FUNCTION as_json(document TEXT) RETURNS JSON LANGUAGE sql IMMUTABLE AS $$
  SELECT replace(document, '\u0000', '\ufffd')::json
$$;

-- A number of a document.
CREATE FUNCTION json_integer(document TEXT, way TEXT[]) RETURNS BIGINT
LANGUAGE sql IMMUTABLE AS $$
  SELECT (as_json(document) #>> way)::bigint
$$;

-- Where a part begins in a whole; 0: nowhere.
CREATE FUNCTION instr(whole TEXT, part TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS $$
  SELECT position(part IN whole)
$$;
CREATE FUNCTION instr(whole BYTEA, part BYTEA) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS $$
  SELECT position(part IN whole)
$$;

-- Whether a text is JSON. PostgreSQL 16 could say so itself.
CREATE FUNCTION json_valid(document TEXT) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN document::json IS NOT NULL;
EXCEPTION WHEN invalid_text_representation THEN
  RETURN false;
END
$$;

-- Who used something, and who pays for them (set from the configuration).
CREATE TABLE subjects (
  id BIGINT PRIMARY KEY DEFAULT next_id('subjects'),
  name TEXT COLLATE "C" NOT NULL UNIQUE,
  customer TEXT COLLATE "C",
  is_split BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX subjects_by_customer ON subjects (customer) WHERE customer IS NOT NULL;

-- A method and a route template; '' where there is none.
CREATE TABLE endpoints (
  id BIGINT PRIMARY KEY DEFAULT next_id('endpoints'),
  method TEXT COLLATE "C" NOT NULL,
  route TEXT COLLATE "C" NOT NULL,
  UNIQUE (method, route)
);

-- One row for each worker process that ever reported, kept for ever: last_seq is
-- the watermark that makes every resend count once.
CREATE TABLE producers (
  id BIGINT PRIMARY KEY DEFAULT next_id('producers'),
  producer TEXT COLLATE "C" NOT NULL UNIQUE,
  app TEXT COLLATE "C" NOT NULL,
  host TEXT COLLATE "C" NOT NULL,
  pid BIGINT NOT NULL,
  started_ms BIGINT NOT NULL,
  spool TEXT COLLATE "C" NOT NULL,
  recorded_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  ingested BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  lost BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  unattributed BIGINT NOT NULL,
  held BIGINT NOT NULL,
  seen_ms BIGINT NOT NULL,
  is_closed BIGINT NOT NULL,
  bad_quantities BIGINT NOT NULL DEFAULT 0
);

-- Append-only. The id is the order in which we learned of it. No secondary index:
-- one costs half of the ingest rate and grows worse with the table.
CREATE TABLE events (
  id BIGINT PRIMARY KEY DEFAULT next_id('events'),
  producer_id BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  kind BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,           -- 0: unattributed
  endpoint_id BIGINT NOT NULL,
  status BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  bytes_in BIGINT NOT NULL,
  bytes_out BIGINT NOT NULL,
  flags BIGINT NOT NULL,
  quantities TEXT COLLATE "C",          -- a JSON object of integers, or NULL
  properties TEXT COLLATE "C"
);

-- Numbers that will never be events: lost at the app, or refused here (then with
-- the bytes that were refused).
CREATE TABLE losses (
  id BIGINT PRIMARY KEY DEFAULT next_id('losses'),
  producer_id BIGINT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  reason TEXT COLLATE "C" NOT NULL,
  payload BYTEA
);

-- What was committed together, and the chain over it (see chain.py). The events are
-- first_event_id .. first_event_id + events - 1; the losses likewise.
CREATE TABLE batches (
  id BIGINT PRIMARY KEY DEFAULT next_id('batches'),
  producer_id BIGINT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  first_event_id BIGINT NOT NULL,
  events BIGINT NOT NULL,
  first_loss_id BIGINT NOT NULL,
  losses BIGINT NOT NULL,
  learned_ms BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

-- The id range of the events of each UTC hour, so that a span of time is found
-- without an index on time. Late events widen a range; they are never outside it.
CREATE TABLE event_hours (
  hour_ms BIGINT PRIMARY KEY,
  first_event_id BIGINT NOT NULL,
  last_event_id BIGINT NOT NULL
);

-- The meters of one version of the configuration, and how far they have counted.
-- A changed meter starts a new generation, which counts all events again.
CREATE TABLE generations (
  id BIGINT PRIMARY KEY DEFAULT next_id('generations'),
  definition TEXT COLLATE "C" NOT NULL,  -- JSON: what the meters measure
  cursor BIGINT NOT NULL,               -- the last event counted
  last_success_ms BIGINT,
  is_complete BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE groups (
  id BIGINT PRIMARY KEY DEFAULT next_id('groups'),
  labels TEXT COLLATE "C" NOT NULL UNIQUE  -- a JSON object: dimension to value
);

-- Usage of a subject in a window of 15 minutes, every meter side by side.
CREATE TABLE usage (
  generation BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  window_ms BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  totals TEXT COLLATE "C" NOT NULL,     -- a JSON object: meter to its total
  last_event_id BIGINT NOT NULL,
  PRIMARY KEY (generation, subject_id, window_ms, group_id)
);
CREATE INDEX usage_by_change ON usage (generation, last_event_id);

-- The distinct values that a `unique` meter has seen in a window.
CREATE TABLE unique_values (
  generation BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  window_ms BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  meter TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (generation, subject_id, window_ms, group_id, meter, value)
);

-- Small facts about this ledger, such as the fingerprint of the customers' map.
CREATE TABLE facts (
  name TEXT COLLATE "C" PRIMARY KEY,
  value TEXT COLLATE "C" NOT NULL
);

-- What Stripe must still be told, and what it has been told.
-- One row is one part of one UTC hour of one customer and meter. What a row says
-- never changes; where it is on its way (state and below) does.
CREATE TABLE outbox (
  id BIGINT PRIMARY KEY DEFAULT next_id('outbox'),
  customer TEXT COLLATE "C" NOT NULL,
  stripe_customer TEXT COLLATE "C",     -- NULL: parked until the mapping exists
  meter TEXT COLLATE "C" NOT NULL,
  event_name TEXT COLLATE "C" NOT NULL,
  mode TEXT COLLATE "C" NOT NULL CHECK (mode IN ('set', 'delta')),
  hour_ms BIGINT NOT NULL,              -- start of the hour, also the event's time
  part BIGINT NOT NULL,                 -- 0, 1, 2 ...: later parts correct earlier ones
  value BIGINT NOT NULL,                -- the hour's total (set) or its change (delta)
  identifier TEXT COLLATE "C" NOT NULL UNIQUE,
  created_ms BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'pending', 'sending', 'confirmed', 'unresolved', 'parked', 'dead', 'expired',
    'rejected'
  )),
  key_no BIGINT NOT NULL DEFAULT 0,     -- of the Idempotency-Key
  attempts BIGINT NOT NULL DEFAULT 0,
  doubt_ms BIGINT,                      -- first send whose outcome is not known
  sent_ms BIGINT,                       -- last send
  next_ms BIGINT NOT NULL DEFAULT 0,    -- not before, by the clock on the wall
  settled_ms BIGINT,
  request_id TEXT COLLATE "C",
  batch_key TEXT COLLATE "C",           -- of the stream's request that it went with
  reason TEXT COLLATE "C",
  replaced_by BIGINT REFERENCES outbox (id),
  seal BYTEA,
  scale BIGINT NOT NULL DEFAULT 0,
  UNIQUE (customer, event_name, hour_ms, part)
);

-- Covers the search for what is due. Whole, as no planner knows that one state is
-- among those of a partial index's list.
CREATE INDEX outbox_state
ON outbox (state, event_name, stripe_customer, id, next_ms);
CREATE INDEX outbox_series ON outbox (event_name, stripe_customer, hour_ms);
CREATE INDEX outbox_batch ON outbox (batch_key) WHERE batch_key IS NOT NULL;

-- How far changes of usage have been noted. One row.
CREATE TABLE outbox_cursor (
  id BIGINT PRIMARY KEY CHECK (id = 1),
  install TEXT COLLATE "C" NOT NULL,    -- random; part of every identifier
  event_id BIGINT NOT NULL,             -- changes up to this event are in outbox_hours
  is_live BIGINT,                       -- mode of the key that it reports with
  sends BIGINT NOT NULL DEFAULT 0,      -- rows ever sent; also in a file beside
  suspect_ms BIGINT NOT NULL DEFAULT 0,  -- what is from before may have been sent
  added BIGINT NOT NULL DEFAULT 0,
  seal BYTEA
);

-- Hours whose usage changed and must be compared with the outbox once they close.
CREATE TABLE outbox_hours (
  hour_ms BIGINT NOT NULL,
  customer TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (hour_ms, customer)
);

-- What Stripe told us by webhook: stored before it is answered, once for each id.
CREATE TABLE stripe_events (
  id TEXT COLLATE "C" PRIMARY KEY,
  type TEXT COLLATE "C" NOT NULL,
  received_ms BIGINT NOT NULL,
  body TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('stored', 'done')),
  errors BIGINT,                        -- meter events that Stripe says it dropped
  found BIGINT,                         -- how many of them are known by row
  reason TEXT COLLATE "C",
  seal BYTEA
);
CREATE INDEX stripe_events_open ON stripe_events (received_ms)
WHERE state = 'stored';

-- The last comparison of each customer, meter and month with Stripe's own totals.
CREATE TABLE reconciliations (
  start_ms BIGINT NOT NULL,
  end_ms BIGINT NOT NULL,
  event_name TEXT COLLATE "C" NOT NULL,
  stripe_customer TEXT COLLATE "C" NOT NULL,
  ours BIGINT NOT NULL,                 -- confirmed
  theirs TEXT COLLATE "C" NOT NULL,     -- decimal text
  unresolved BIGINT NOT NULL,
  verdict TEXT COLLATE "C" NOT NULL,
  checked_ms BIGINT NOT NULL,
  seal BYTEA,
  scale BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (start_ms, event_name, stripe_customer)
);

-- Usage of a subject in a UTC day: its windows added up, in the transaction that
-- counts them. A month is read from 31 rows instead of 2,976.
CREATE TABLE usage_days (
  generation BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  day_ms BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  totals TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (generation, subject_id, day_ms, group_id)
);

-- Usage of all subjects together, in spans of 15 minutes, of an hour and of a day.
CREATE TABLE usage_totals (
  generation BIGINT NOT NULL,
  step_ms BIGINT NOT NULL,
  start_ms BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  totals TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (generation, step_ms, start_ms, group_id)
);

-- Alerts that were raised, and whether the webhook was told. The unique key is what
-- makes each of them one alert, however often it is looked for.
CREATE TABLE alerts (
  id BIGINT PRIMARY KEY DEFAULT next_id('alerts'),
  rule TEXT COLLATE "C" NOT NULL,
  customer TEXT COLLATE "C" NOT NULL,
  since_ms BIGINT NOT NULL,             -- of the period, or the day, that it is about
  level BIGINT NOT NULL,                -- the percentage reached; 0 for other kinds
  kind TEXT COLLATE "C" NOT NULL,
  message TEXT COLLATE "C" NOT NULL,    -- for people
  body TEXT COLLATE "C" NOT NULL,       -- JSON: what the webhook is told
  raised_ms BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'pending', 'delivered', 'failed', 'shown'
  )),
  attempts BIGINT NOT NULL DEFAULT 0,
  next_ms BIGINT NOT NULL DEFAULT 0,
  delivered_ms BIGINT,
  error TEXT COLLATE "C",
  UNIQUE (rule, customer, since_ms, level)
);
CREATE INDEX alerts_pending ON alerts (next_ms) WHERE state = 'pending';

-- What was agreed, and from when: customers, plans, meters. Append-only. A row says
-- what changes from a time of use on (from_ms), and when that was learned; of two
-- rows that say something about one moment the later one (by id) holds.
CREATE TABLE terms (
  id BIGINT PRIMARY KEY DEFAULT next_id('terms'),
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('customer', 'plan', 'meter', 'rule')),
  name TEXT COLLATE "C" NOT NULL,
  change TEXT COLLATE "C" NOT NULL,     -- a JSON object: only what changes
  from_ms BIGINT NOT NULL,              -- 0: always
  learned_ms BIGINT NOT NULL,
  source TEXT COLLATE "C" NOT NULL CHECK (source IN ('file', 'api')),
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL,     -- why it reaches into what is final; '' where not
  reaches_final BIGINT NOT NULL         -- 0, or 1 where a person said so
);
CREATE INDEX terms_by_name ON terms (kind, name);
CREATE INDEX subjects_of_nobody ON subjects (id) WHERE customer IS NULL;

CREATE TABLE owners (
  subject_id BIGINT NOT NULL,
  from_ms BIGINT NOT NULL,
  end_ms BIGINT NOT NULL,               -- when the next one begins; the largest: never
  customer TEXT COLLATE "C",            -- NULL: nobody
  PRIMARY KEY (subject_id, from_ms)
);
CREATE INDEX owners_by_customer ON owners (customer) WHERE customer IS NOT NULL;

-- Where a subject changed hands within a window, which is two from then on. Events up
-- to after_event_id were counted before that was known, and stay where they are.
CREATE TABLE window_cuts (
  cut_ms BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  after_event_id BIGINT NOT NULL,
  PRIMARY KEY (cut_ms, subject_id)
);

-- What a final period came to later, less what was billed for it: billed once, on
-- the invoice that was made final in the same transaction.
CREATE TABLE adjustments (
  id BIGINT PRIMARY KEY DEFAULT next_id('adjustments'),
  customer TEXT COLLATE "C" NOT NULL,
  period TEXT COLLATE "C" NOT NULL,     -- which is corrected
  invoice_id BIGINT NOT NULL,           -- on which it is billed
  currency TEXT COLLATE "C" NOT NULL,
  billed TEXT COLLATE "C" NOT NULL,     -- decimal text: so far
  now TEXT COLLATE "C" NOT NULL,
  amount TEXT COLLATE "C" NOT NULL,
  counted_up_to_event BIGINT NOT NULL
);
CREATE INDEX adjustments_by_customer ON adjustments (customer, period);
CREATE INDEX adjustments_by_invoice ON adjustments (invoice_id);

-- What an invoice used up of a credit (an amount) or a coupon (a period).
CREATE TABLE term_uses (
  id BIGINT PRIMARY KEY DEFAULT next_id('term_uses'),
  customer TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('credit', 'coupon')),
  name TEXT COLLATE "C" NOT NULL,
  currency TEXT COLLATE "C" NOT NULL,
  period TEXT COLLATE "C" NOT NULL,
  invoice_id BIGINT NOT NULL,
  amount TEXT COLLATE "C" NOT NULL      -- decimal text; below zero gives something back
);
CREATE INDEX term_uses_by_customer ON term_uses (customer, kind, name);

-- Before this time somebody's period is final: usage that changes before it is
-- noted here, so that a late event is found without looking at all usage.
CREATE TABLE late_usage (
  subject_id BIGINT NOT NULL,
  day_ms BIGINT NOT NULL,
  last_event_id BIGINT NOT NULL,
  PRIMARY KEY (subject_id, day_ms)
);

-- Events whose time could not be right when they came: what is known of them, and
-- what became of them. due_ms is when they are counted (0: now), NULL: not by
-- themselves. counted_as is the event that is counted in their place.
CREATE TABLE held_events (
  event_id BIGINT PRIMARY KEY,
  producer_id BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  learned_ms BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'waiting', 'accepted', 'rejected', 'counted'
  )),
  due_ms BIGINT,
  counted_as BIGINT
);
CREATE INDEX held_events_due ON held_events (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX held_events_waiting ON held_events (subject_id) WHERE state = 'waiting';

-- What a person decided about them; of two decisions on one event the later holds.
CREATE TABLE held_decisions (
  id BIGINT PRIMARY KEY DEFAULT next_id('held_decisions'),
  event_id BIGINT NOT NULL,
  is_accepted BIGINT NOT NULL,
  decided_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX held_decisions_by_event ON held_decisions (event_id);

-- The chain over what money stands in: each row of terms, invoices, adjustments,
-- uses and decisions has a link here, in the order in which they were written.
CREATE TABLE journal (
  id BIGINT PRIMARY KEY DEFAULT next_id('journal'),
  entry TEXT COLLATE "C" NOT NULL,      -- which table
  row_id BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  UNIQUE (entry, row_id)
);
CREATE INDEX outbox_unsealed ON outbox (id) WHERE seal IS NULL;
CREATE INDEX reconciliations_unsealed ON reconciliations (start_ms) WHERE seal IS NULL;
CREATE INDEX stripe_events_unsealed ON stripe_events (id) WHERE seal IS NULL;

-- Sums over all producers, whose rows stay for ever: whoever asks how things are must not
-- read a million of them. Kept by the database itself, in the transaction that changes a
-- producer. Numbers that peers announce are two columns, which cannot overflow.
CREATE TABLE producer_sums (
  id BIGINT PRIMARY KEY CHECK (id = 1),
  recorded_high BIGINT NOT NULL,
  recorded_low BIGINT NOT NULL,
  lost_high BIGINT NOT NULL,
  lost_low BIGINT NOT NULL,
  ingested BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  unattributed BIGINT NOT NULL,
  bad_quantities BIGINT NOT NULL,
  open BIGINT NOT NULL,
  closed BIGINT NOT NULL,
  in_memory BIGINT NOT NULL
);

-- The list begins with who is open, and then goes by when they were last heard of.
CREATE INDEX producers_seen ON producers (is_closed, seen_ms DESC);
CREATE INDEX producers_with_gap ON producers (seen_ms) WHERE recorded_seq > last_seq;

-- The values of properties that usage is told apart by, each for the events behind one;
-- an empty value: from this event on, there were more than the limit. Others are added up
-- together, so that the number of groups is bounded whatever an app records.
CREATE TABLE property_values (
  name TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  after_event_id BIGINT NOT NULL,
  PRIMARY KEY (name, value)
);

-- Who sends events over HTTP. `conflicts` are events that came under an id that another
-- event has; the last one of them came under that of `conflict_event_id`.
CREATE TABLE external_sources (
  id BIGINT PRIMARY KEY DEFAULT next_id('external_sources'),
  name TEXT COLLATE "C" NOT NULL UNIQUE,
  conflicts BIGINT NOT NULL DEFAULT 0,
  conflict_event_id BIGINT
);

-- What its sender called an event that came over HTTP: unique for ever. The mac covers
-- the name and what the event says, without its time where that is ours (is_timed = 0).
CREATE TABLE external_events (
  event_id BIGINT PRIMARY KEY,
  source_id BIGINT NOT NULL,
  external_id TEXT COLLATE "C" NOT NULL,
  is_timed BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  UNIQUE (source_id, external_id)
);

-- What clients called their requests, so that one that is sent again counts once: for a
-- time, then it is forgotten. The key is a keyed digest; time_ms is when it happened.
CREATE TABLE request_keys (
  key BYTEA PRIMARY KEY,
  event_id BIGINT NOT NULL,
  time_ms BIGINT NOT NULL
);
CREATE INDEX request_keys_by_time ON request_keys (time_ms);

-- Files of the archive that the oldest batches left for, or were brought back from: a
-- log of moves, appended and never changed. Where the last one ends, the ledger begins.
CREATE TABLE archive_moves (
  id BIGINT PRIMARY KEY DEFAULT next_id('archive_moves'),
  is_out BIGINT NOT NULL CHECK (is_out IN (0, 1)),  -- 0: brought back
  file TEXT COLLATE "C" NOT NULL,
  file_bytes BIGINT NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,     -- SHA-256 of the file, in hex
  first_batch_id BIGINT NOT NULL,
  last_batch_id BIGINT NOT NULL,
  first_event_id BIGINT NOT NULL,
  events BIGINT NOT NULL,
  first_loss_id BIGINT NOT NULL,
  losses BIGINT NOT NULL,
  previous_mac BYTEA NOT NULL,          -- of the batch before the first one
  mac BYTEA NOT NULL,                   -- of the last one
  first_ms BIGINT NOT NULL,             -- the span of what was counted: [first_ms, beyond_ms)
  beyond_ms BIGINT NOT NULL,
  moved_ms BIGINT NOT NULL
);

-- Few come back. Whether what left is still away is asked of every move.
CREATE INDEX archive_moves_back ON archive_moves (id, first_batch_id) WHERE is_out = 0;

-- Invoices and credit notes as documents: who sent them to whom, under which number.
-- Appended and never changed. Numbers of a series are 1, 2, 3, ... without holes: the
-- next one is taken in the transaction that writes the row.
CREATE TABLE documents (
  id BIGINT PRIMARY KEY DEFAULT next_id('documents'),
  series TEXT COLLATE "C" NOT NULL,     -- what the number is written behind: INV-
  number BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
  invoice_id BIGINT NOT NULL,           -- the final invoice that it is of
  customer TEXT COLLATE "C" NOT NULL,   -- and its customer and period
  period TEXT COLLATE "C" NOT NULL,
  currency TEXT COLLATE "C" NOT NULL,
  amount TEXT COLLATE "C" NOT NULL,     -- decimal text: what is due by it; of a credit note below 0
  issued_ms BIGINT NOT NULL,
  details TEXT COLLATE "C" NOT NULL,    -- JSON: seller and buyer as they were, when it is due
  UNIQUE (series, number)
);
CREATE UNIQUE INDEX documents_of_invoices ON documents (invoice_id)
  WHERE kind = 'invoice';
CREATE INDEX documents_by_invoice ON documents (invoice_id, id);
CREATE INDEX documents_by_customer ON documents (customer, id);
CREATE INDEX documents_by_period ON documents (period, id);

-- What became of a final invoice: a row to each step, with when, who and why; never
-- changed. An invoice that is older than this table has no row for having become final.
CREATE TABLE invoice_states (
  id BIGINT PRIMARY KEY DEFAULT next_id('invoice_states'),
  invoice_id BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'final', 'sent', 'paid', 'uncollectible', 'void'
  )),
  at_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  cause TEXT COLLATE "C" NOT NULL
);
CREATE INDEX invoice_states_by_invoice ON invoice_states (invoice_id);

-- Money given to a customer, or paid by them in advance, which pays for invoices.
-- Append-only: what is left of one is worked out from what invoices used (term_uses).
CREATE TABLE credits (
  id BIGINT PRIMARY KEY DEFAULT next_id('credits'),
  customer TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C",                 -- what whoever granted it calls it: it counts once
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('goodwill', 'prepaid')),
  title TEXT COLLATE "C" NOT NULL,
  currency TEXT COLLATE "C" NOT NULL,
  amount TEXT COLLATE "C" NOT NULL,     -- decimal text
  priority BIGINT NOT NULL,             -- the lower one pays first
  starts TEXT COLLATE "C" NOT NULL,     -- the first day on which it pays; '': at once
  expires TEXT COLLATE "C" NOT NULL,    -- the last day; '': never
  granted_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX credits_by_customer ON credits (customer);
CREATE UNIQUE INDEX credits_by_key ON credits (customer, key) WHERE key IS NOT NULL;

-- Credits that pay for nothing more; what they have paid stays paid.
CREATE TABLE credit_ends (
  id BIGINT PRIMARY KEY DEFAULT next_id('credit_ends'),
  credit_id BIGINT NOT NULL UNIQUE,
  ended_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);

-- Final invoices: written once and never changed. What is learned later becomes an
-- adjustment on a later invoice. One row to a customer and period, whatever the clock
-- does.
CREATE TABLE invoices (
  id BIGINT PRIMARY KEY DEFAULT next_id('invoices'),
  customer TEXT COLLATE "C" NOT NULL,
  period_start_ms BIGINT NOT NULL,
  period_end_ms BIGINT NOT NULL,
  finalized_ms BIGINT NOT NULL,
  document TEXT COLLATE "C" NOT NULL,   -- the invoice as JSON, to the last explanation
  period TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX invoices_by_customer ON invoices (customer, period_start_ms);
CREATE INDEX invoices_by_period ON invoices (period, customer);
CREATE INDEX invoice_states_void ON invoice_states (invoice_id) WHERE state = 'void';

-- What was paid of invoices, and given back: appended, never changed.
CREATE TABLE payments (
  id BIGINT PRIMARY KEY DEFAULT next_id('payments'),
  invoice_id BIGINT NOT NULL,
  customer TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C",                 -- what whoever recorded it calls it: it counts once
  currency TEXT COLLATE "C" NOT NULL,
  amount TEXT COLLATE "C" NOT NULL,     -- decimal text; below 0 it was given back
  paid_on TEXT COLLATE "C" NOT NULL,    -- a date
  reference TEXT COLLATE "C" NOT NULL,  -- what the bank says, such as the number of a transfer
  recorded_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX payments_by_invoice ON payments (invoice_id);
CREATE INDEX payments_by_customer ON payments (customer);
CREATE UNIQUE INDEX payments_by_key ON payments (invoice_id, key) WHERE key IS NOT NULL;

-- What Stripe is told of final invoices, call by call, in order: a draft, an item for
-- each line, then that it is final; later credit notes and what else becomes of it.
-- What a row asks for never changes; where it is on its way (state and below) does.
CREATE TABLE stripe_calls (
  id BIGINT PRIMARY KEY DEFAULT next_id('stripe_calls'),
  invoice_id BIGINT NOT NULL,
  step TEXT COLLATE "C" NOT NULL CHECK (step IN (
    'invoice', 'item', 'finalize', 'send', 'credit_note', 'void',
    'uncollectible', 'paid', 'delete'
  )),
  ref TEXT COLLATE "C" NOT NULL,        -- what it stands for at Stripe, in metadata
  stripe_customer TEXT COLLATE "C" NOT NULL,
  params TEXT COLLATE "C" NOT NULL,     -- JSON: what is asked for
  created_ms BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'pending', 'sending', 'done', 'held', 'dropped'
  )),
  key_no BIGINT NOT NULL DEFAULT 0,     -- of the Idempotency-Key
  attempts BIGINT NOT NULL DEFAULT 0,
  doubt_ms BIGINT,                      -- first send whose outcome is not known
  next_ms BIGINT NOT NULL DEFAULT 0,    -- not before, by the clock on the wall
  object_id TEXT COLLATE "C",           -- what Stripe made of it
  reason TEXT COLLATE "C",
  seal BYTEA,
  UNIQUE (invoice_id, step, ref)
);
CREATE INDEX stripe_calls_open ON stripe_calls (state, next_ms, id);
CREATE INDEX stripe_calls_objects ON stripe_calls (object_id) WHERE object_id IS NOT NULL;

-- What people corrected of the events: which do not count any more, or count again, and
-- which were added in their place. Append-only. A correction has a place in the order of
-- events, its own event (event_id): usage of the events up to there knows it.
CREATE TABLE corrections (
  id BIGINT PRIMARY KEY DEFAULT next_id('corrections'),
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('void', 'amend', 'add', 'revert', 'late')),
  key TEXT COLLATE "C",                 -- what whoever asked for it calls it: it counts once
  query TEXT COLLATE "C" NOT NULL,      -- JSON: what was asked for
  reverts BIGINT,                       -- the correction that is taken back
  first_event_id BIGINT NOT NULL,       -- the first event that it added, or its own
  event_id BIGINT NOT NULL,             -- its own event: from behind it on it holds
  events BIGINT NOT NULL,               -- how many rows of corrected_events are its
  digest BYTEA NOT NULL,                -- and SHA-256 over them
  corrected_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX corrections_by_event ON corrections (event_id);
CREATE UNIQUE INDEX corrections_by_key ON corrections (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX corrections_reverted ON corrections (reverts) WHERE reverts IS NOT NULL;

-- The events that a correction is about. Of several rows of one event the last holds.
CREATE TABLE corrected_events (
  event_id BIGINT NOT NULL,
  correction_id BIGINT NOT NULL,
  is_void BIGINT NOT NULL CHECK (is_void IN (0, 1)),  -- 0: it counts
  PRIMARY KEY (event_id, correction_id)
);
CREATE INDEX corrected_events_of ON corrected_events (correction_id, event_id);

-- Late usage that a person does not want billed. What waits for a decision is a correction
-- of the kind 'late', and accepting it takes that back.
CREATE TABLE late_rejections (
  id BIGINT PRIMARY KEY DEFAULT next_id('late_rejections'),
  correction_id BIGINT NOT NULL UNIQUE,
  rejected_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);

-- Files of events that were read in, each a row that is never changed.
CREATE TABLE imports (
  id BIGINT PRIMARY KEY DEFAULT next_id('imports'),
  name TEXT COLLATE "C" NOT NULL,
  file TEXT COLLATE "C" NOT NULL,       -- what whoever began it calls it
  begun_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX imports_by_name ON imports (name);

-- What became of an import: a row to each step, with the numbers as they were then.
CREATE TABLE import_states (
  id BIGINT PRIMARY KEY DEFAULT next_id('import_states'),
  import_id BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN (
    'staged', 'committing', 'committed', 'discarded'
  )),
  at_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  lines BIGINT NOT NULL,
  events BIGINT NOT NULL,
  bad BIGINT NOT NULL,
  accepted BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  conflicts BIGINT NOT NULL
);
CREATE INDEX import_states_by_import ON import_states (import_id);

-- Lines of a file that wait aside: nothing counts them. Deleted once that is over.
CREATE TABLE import_chunks (
  import_id BIGINT NOT NULL,
  first_line BIGINT NOT NULL,
  lines BIGINT NOT NULL,
  events BIGINT NOT NULL,
  bad BIGINT NOT NULL,
  first_ms BIGINT,                      -- of its events; NULL where it has none
  digest BYTEA NOT NULL,                -- of the lines as they came
  mac BYTEA NOT NULL,                   -- over the content and its place
  accepted BIGINT,                      -- NULL until they are stored
  duplicates BIGINT NOT NULL DEFAULT 0,
  conflicts BIGINT NOT NULL DEFAULT 0,
  content BYTEA,                        -- NULL once it is stored as events; last, as it is long
  PRIMARY KEY (import_id, first_line)
);

-- Lines that are left out, and why: the first ones of each import.
CREATE TABLE import_faults (
  import_id BIGINT NOT NULL,
  line BIGINT NOT NULL,
  verdict TEXT COLLATE "C" NOT NULL,
  source TEXT COLLATE "C",
  external_id TEXT COLLATE "C",
  field TEXT COLLATE "C",
  reason TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (import_id, line)
);

-- Generations that counted again beside the one that is read, and were given up before
-- they had caught up with it.
CREATE TABLE generation_ends (
  id BIGINT PRIMARY KEY DEFAULT next_id('generation_ends'),
  generation BIGINT NOT NULL,
  ended_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);

-- Subjects whose name was taken out of the ledger: a row to each, appended and never
-- changed. Who it was is not said: `digest` is keyed, and shows that a name that somebody
-- brings was erased.
CREATE TABLE erasures (
  id BIGINT PRIMARY KEY DEFAULT next_id('erasures'),
  alias TEXT COLLATE "C" NOT NULL UNIQUE,  -- what stands in the place of the name, everywhere
  digest BYTEA NOT NULL,
  events BIGINT NOT NULL,
  batches BIGINT NOT NULL,
  erased_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);

-- Rows whose link of a chain was made over the name: the chain stays as it is, and such a
-- row is what was committed but for the name if it fits the seal, which is keyed.
CREATE TABLE erasure_seals (
  entry TEXT COLLATE "C" NOT NULL,      -- a table: batches, terms
  row_id BIGINT NOT NULL,
  erasure_id BIGINT NOT NULL,           -- the last one that the row was changed by
  seal BYTEA NOT NULL,
  PRIMARY KEY (entry, row_id)
);

-- Other sidecars that forward their events to this one. Everything but who they are is
-- how they stood when they were last heard of. Up to `batch` of their own ledger all is
-- here; of the batches up to `ahead`, whose mac is `mark`, something may be.
CREATE TABLE edges (
  id BIGINT PRIMARY KEY DEFAULT next_id('edges'),
  edge TEXT COLLATE "C" NOT NULL UNIQUE,  -- 128 random bits of its ledger
  name TEXT COLLATE "C" NOT NULL,
  credential TEXT COLLATE "C" NOT NULL,  -- a token's id, or whose certificate; '': not known
  program TEXT COLLATE "C" NOT NULL,
  first_ms BIGINT NOT NULL,
  seen_ms BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  ahead BIGINT NOT NULL,
  mark BYTEA NOT NULL,
  low_ms BIGINT NOT NULL,               -- everything of it from before is here
  skew_ms BIGINT NOT NULL,              -- its clock, less ours
  trouble TEXT COLLATE "C" NOT NULL     -- why it is refused until a person decides; '': it is not
);

-- Whose events a producer's are. Those of this host are not here.
CREATE TABLE edge_producers (
  producer TEXT COLLATE "C" PRIMARY KEY,
  edge_id BIGINT NOT NULL
);

-- What people decided about edges. Append-only.
CREATE TABLE edge_decisions (
  id BIGINT PRIMARY KEY DEFAULT next_id('edge_decisions'),
  edge_id BIGINT NOT NULL,
  decision TEXT COLLATE "C" NOT NULL CHECK (decision IN ('adopt', 'retire')),
  decided_ms BIGINT NOT NULL,
  author TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX edge_decisions_by_edge ON edge_decisions (edge_id, id);

-- What all producers add up to, kept with each of their rows.
INSERT INTO producer_sums (
  id, recorded_high, recorded_low, lost_high, lost_low, ingested, refused, duplicates,
  unattributed, bad_quantities, open, closed, in_memory
) VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE FUNCTION add_producer(p producers, sign BIGINT) RETURNS VOID LANGUAGE sql AS $$
  UPDATE producer_sums SET
    recorded_high = recorded_high + sign * (p.recorded_seq / 4294967296),
    recorded_low = recorded_low + sign * (p.recorded_seq % 4294967296),
    lost_high = lost_high + sign * (p.lost / 4294967296),
    lost_low = lost_low + sign * (p.lost % 4294967296),
    ingested = ingested + sign * p.ingested,
    refused = refused + sign * p.refused,
    duplicates = duplicates + sign * p.duplicates,
    unattributed = unattributed + sign * p.unattributed,
    bad_quantities = bad_quantities + sign * p.bad_quantities,
    open = open + sign * (1 - p.is_closed),
    closed = closed + sign * p.is_closed,
    in_memory = in_memory
      + sign * CASE WHEN p.is_closed = 0 AND p.spool <> 'file' THEN 1 ELSE 0 END
$$;

CREATE FUNCTION sum_producers() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM add_producer(OLD, -1);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    PERFORM add_producer(NEW, 1);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER producers_summed AFTER INSERT OR UPDATE OR DELETE ON producers
FOR EACH ROW EXECUTE FUNCTION sum_producers();

-- Whatever a program does: of one customer and period, one invoice is not void.
CREATE FUNCTION check_invoice() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (
    SELECT 1 FROM invoices i
    WHERE i.customer = NEW.customer
      AND (i.period = NEW.period OR i.period_start_ms = NEW.period_start_ms)
      AND i.id NOT IN (SELECT s.invoice_id FROM invoice_states s WHERE s.state = 'void')
  ) THEN
    RAISE unique_violation USING MESSAGE = 'this period has an invoice that is not void';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER invoices_once BEFORE INSERT ON invoices
FOR EACH ROW EXECUTE FUNCTION check_invoice();
