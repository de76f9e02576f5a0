-- Who sends events over HTTP. `conflicts` are events that came under an id that another
-- event has; the last one of them came under that of `conflict_event_id`.
CREATE TABLE external_sources (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  conflicts INTEGER NOT NULL DEFAULT 0,
  conflict_event_id INTEGER
) STRICT;

-- What its sender called an event that came over HTTP: unique for ever. The mac covers
-- the name and what the event says, without its time where that is ours (is_timed = 0).
CREATE TABLE external_events (
  event_id INTEGER PRIMARY KEY,
  source_id INTEGER NOT NULL,
  external_id TEXT NOT NULL,
  is_timed INTEGER NOT NULL,
  mac BLOB NOT NULL,
  UNIQUE (source_id, external_id)
) STRICT;
