-- What people corrected of the events: which do not count any more, or count again, and
-- which were added in their place. Append-only. A correction has a place in the order of
-- events, its own event (event_id): usage of the events up to there knows it.
CREATE TABLE corrections (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('void', 'amend', 'add', 'revert', 'late')),
  key TEXT,                      -- what whoever asked for it calls it: it counts once
  query TEXT NOT NULL,           -- JSON: what was asked for
  reverts INTEGER,               -- the correction that is taken back
  first_event_id INTEGER NOT NULL, -- the first event that it added, or its own
  event_id INTEGER NOT NULL,     -- its own event: from behind it on it holds
  events INTEGER NOT NULL,       -- how many rows of corrected_events are its
  digest BLOB NOT NULL,          -- and SHA-256 over them
  corrected_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX corrections_by_event ON corrections (event_id);
CREATE UNIQUE INDEX corrections_by_key ON corrections (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX corrections_reverted ON corrections (reverts) WHERE reverts IS NOT NULL;

-- The events that a correction is about. Of several rows of one event the last holds.
CREATE TABLE corrected_events (
  event_id INTEGER NOT NULL,
  correction_id INTEGER NOT NULL,
  is_void INTEGER NOT NULL CHECK (is_void IN (0, 1)), -- 0: it counts
  PRIMARY KEY (event_id, correction_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX corrected_events_of ON corrected_events (correction_id, event_id);
