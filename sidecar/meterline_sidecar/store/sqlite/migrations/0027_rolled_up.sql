-- At an edge that forwards usage. One life of its ledger is an epoch: what it rolls up is
-- of a producer of its own, and says nothing of events up to after_event_id.
CREATE TABLE epochs (
  id INTEGER PRIMARY KEY,
  producer TEXT NOT NULL UNIQUE,
  after_event_id INTEGER NOT NULL,
  known_seq INTEGER NOT NULL     -- once it is over: up to which number the centre has it
) STRICT;

-- Up to which number of a producer an earlier epoch has rolled up, of what this ledger
-- does not know: it was put back. Those events do not count again.
CREATE TABLE rolled_up_before (
  producer TEXT PRIMARY KEY,
  last_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- By which countings of its centre events are rolled up, and how far.
CREATE TABLE roll_ups (
  id INTEGER PRIMARY KEY,
  generation TEXT NOT NULL UNIQUE, -- of the centre, as it is called
  definition TEXT NOT NULL,       -- JSON: what the meters measure
  cursor INTEGER NOT NULL,        -- the last event that is rolled up
  is_complete INTEGER NOT NULL CHECK (is_complete IN (0, 1)) -- 1: all there was ever was
) STRICT;

-- Each time that events were rolled up: those behind after_event_id, up to up_to_event_id,
-- into rows of events that begin at first_event_id. Append-only.
CREATE TABLE rolls (
  id INTEGER PRIMARY KEY,
  generation TEXT NOT NULL,
  after_event_id INTEGER NOT NULL,
  up_to_event_id INTEGER NOT NULL,
  first_event_id INTEGER NOT NULL,
  events INTEGER NOT NULL
) STRICT;
CREATE INDEX rolls_by_event ON rolls (generation, first_event_id);

-- At a centre: whether an edge forwards its events, or what they come to.
ALTER TABLE edges ADD COLUMN forwards TEXT NOT NULL DEFAULT 'events'
  CHECK (forwards IN ('events', 'usage'));
