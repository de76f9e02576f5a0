-- What was agreed, and from when: customers, plans, meters. Append-only. A row says
-- what changes from a time of use on (from_ms), and when that was learned; of two
-- rows that say something about one moment the later one (by id) holds.
CREATE TABLE terms (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('customer', 'plan', 'meter', 'rule')),
  name TEXT NOT NULL,
  change TEXT NOT NULL,          -- a JSON object: only what changes
  from_ms INTEGER NOT NULL,      -- 0: always
  learned_ms INTEGER NOT NULL,
  source TEXT NOT NULL CHECK (source IN ('file', 'api')),
  author TEXT NOT NULL,
  reason TEXT NOT NULL,          -- why it reaches into what is final; '' where not
  reaches_final INTEGER NOT NULL -- 0, or 1 where a person said so
) STRICT;
CREATE INDEX terms_by_name ON terms (kind, name);

-- Who pays for a subject from when on, for those subjects that had more than one
-- payer. All others have theirs in subjects.customer, for all of their usage.
ALTER TABLE subjects ADD COLUMN is_split INTEGER NOT NULL DEFAULT 0;
CREATE INDEX subjects_of_nobody ON subjects (id) WHERE customer IS NULL;
CREATE TABLE owners (
  subject_id INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,       -- when the next one begins; the largest: never
  customer TEXT,                 -- NULL: nobody
  PRIMARY KEY (subject_id, from_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX owners_by_customer ON owners (customer) WHERE customer IS NOT NULL;

-- Where a subject changed hands within a window, which is two from then on. Events up
-- to after_event_id were counted before that was known, and stay where they are.
CREATE TABLE window_cuts (
  cut_ms INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  after_event_id INTEGER NOT NULL,
  PRIMARY KEY (cut_ms, subject_id)
) STRICT, WITHOUT ROWID;

-- A generation is served once it has caught up; one that counts again beside it
-- takes its place then. Its definition says what each meter measures from when on,
-- and behind which event that holds: what was counted stays as it was counted.
ALTER TABLE generations ADD COLUMN is_complete INTEGER NOT NULL DEFAULT 0;
UPDATE generations SET is_complete = 1 WHERE definition NOT LIKE '% ';
UPDATE generations SET definition = json_object('terms_row', -1, 'meters', (
  SELECT json_group_object(
    m.value ->> '$.name', json_array(json_array(0, 0, json(m.value)))
  ) FROM json_each(trim(generations.definition)) m
)) WHERE definition LIKE '[%';
-- The rollups of one that was there before them are empty: it is counted again.
INSERT INTO generations (definition, cursor)
  SELECT definition, 0 FROM generations
  WHERE id = (SELECT max(id) FROM generations) AND is_complete = 0;

-- The name of the period is part of what an invoice is: its edges may move.
ALTER TABLE invoices ADD COLUMN period TEXT NOT NULL DEFAULT '';
UPDATE invoices SET period = coalesce(document ->> '$.invoice.period.name', '');
CREATE UNIQUE INDEX invoices_by_period ON invoices (customer, period);

-- What a final period came to later, less what was billed for it: billed once, on
-- the invoice that was made final in the same transaction.
CREATE TABLE adjustments (
  id INTEGER PRIMARY KEY,
  customer TEXT NOT NULL,
  period TEXT NOT NULL,          -- which is corrected
  invoice_id INTEGER NOT NULL,   -- on which it is billed
  currency TEXT NOT NULL,
  billed TEXT NOT NULL,          -- decimal text: so far
  now TEXT NOT NULL,
  amount TEXT NOT NULL,
  counted_up_to_event INTEGER NOT NULL
) STRICT;
CREATE INDEX adjustments_by_customer ON adjustments (customer, period);
CREATE INDEX adjustments_by_invoice ON adjustments (invoice_id);

-- What an invoice used up of a credit (an amount) or a coupon (a period).
CREATE TABLE term_uses (
  id INTEGER PRIMARY KEY,
  customer TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('credit', 'coupon')),
  name TEXT NOT NULL,
  currency TEXT NOT NULL,
  period TEXT NOT NULL,
  invoice_id INTEGER NOT NULL,
  amount TEXT NOT NULL           -- decimal text; below zero gives something back
) STRICT;
CREATE INDEX term_uses_by_customer ON term_uses (customer, kind, name);

-- Before this time somebody's period is final: usage that changes before it is
-- noted here, so that a late event is found without looking at all usage.
CREATE TABLE late_usage (
  subject_id INTEGER NOT NULL,
  day_ms INTEGER NOT NULL,
  last_event_id INTEGER NOT NULL,
  PRIMARY KEY (subject_id, day_ms)
) STRICT, WITHOUT ROWID;

-- Events whose time could not be right when they came: what is known of them, and
-- what became of them. due_ms is when they are counted (0: now), NULL: not by
-- themselves. counted_as is the event that is counted in their place.
CREATE TABLE held_events (
  event_id INTEGER PRIMARY KEY,
  producer_id INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  learned_ms INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'accepted', 'rejected', 'counted')),
  due_ms INTEGER,
  counted_as INTEGER
) STRICT;
CREATE INDEX held_events_due ON held_events (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX held_events_waiting ON held_events (subject_id) WHERE state = 'waiting';
CREATE INDEX held_batches ON batches (first_event_id);
INSERT INTO held_events
  SELECT id, producer_id, subject_id, time_ms, learned_ms, 'waiting',
    CASE WHEN time_ms > learned_ms THEN time_ms - 300000 END, NULL
  FROM (SELECT e.id, e.producer_id, e.subject_id, e.time_ms,
    (SELECT b.learned_ms FROM batches b WHERE b.first_event_id <= e.id AND b.events > 0
      ORDER BY b.first_event_id DESC LIMIT 1) AS learned_ms
    FROM events e WHERE e.flags & 65536 <> 0);
DROP INDEX held_batches;

-- What a person decided about them; of two decisions on one event the later holds.
CREATE TABLE held_decisions (
  id INTEGER PRIMARY KEY,
  event_id INTEGER NOT NULL,
  is_accepted INTEGER NOT NULL,
  decided_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX held_decisions_by_event ON held_decisions (event_id);

-- Events that the app left a quantity out of, because it could not be taken.
ALTER TABLE producers ADD COLUMN bad_quantities INTEGER NOT NULL DEFAULT 0;
UPDATE producers SET bad_quantities = found.n_events
  FROM (SELECT producer_id, count(*) AS n_events FROM events WHERE flags & 8 <> 0
    GROUP BY producer_id) AS found
  WHERE found.producer_id = producers.id;

-- The chain over what money stands in: each row of terms, invoices, adjustments,
-- uses and decisions has a link here, in the order in which they were written.
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  entry TEXT NOT NULL,           -- which table
  row_id INTEGER NOT NULL,
  mac BLOB NOT NULL,
  UNIQUE (entry, row_id)
) STRICT;

-- What earlier invoices say of adjustments, and what is late since the first of them.
INSERT INTO adjustments
  (customer, period, invoice_id, currency, billed, now, amount, counted_up_to_event)
SELECT
  i.customer, a.value ->> '$.period', i.id, i.document ->> '$.invoice.currency',
  a.value ->> '$.billed', a.value ->> '$.now', a.value ->> '$.amount',
  i.document ->> '$.counted_up_to_event'
FROM invoices i, json_each(i.document, '$.adjustments') a
ORDER BY i.id;

INSERT INTO late_usage (subject_id, day_ms, last_event_id)
SELECT u.subject_id, u.window_ms / 86400000 * 86400000, max(u.last_event_id)
FROM usage u
WHERE u.generation = (SELECT max(id) FROM generations)
  AND u.window_ms < (SELECT max(period_end_ms) FROM invoices)
  AND u.last_event_id > (
    SELECT min(i.document ->> '$.counted_up_to_event') FROM invoices i
  )
GROUP BY 1, 2;
