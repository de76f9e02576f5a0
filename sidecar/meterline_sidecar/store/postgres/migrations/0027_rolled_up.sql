-- At an edge that forwards usage. One life of its ledger is an epoch: what it rolls up is
-- of a producer of its own, and says nothing of events up to after_event_id.
CREATE TABLE epochs (
  id BIGINT PRIMARY KEY DEFAULT next_id('epochs'),
  producer TEXT COLLATE "C" NOT NULL UNIQUE,
  after_event_id BIGINT NOT NULL,
  known_seq BIGINT NOT NULL             -- once it is over: up to which number the centre has it
);

-- Up to which number of a producer an earlier epoch has rolled up, of what this ledger
-- does not know: it was put back. Those events do not count again.
CREATE TABLE rolled_up_before (
  producer TEXT COLLATE "C" PRIMARY KEY,
  last_seq BIGINT NOT NULL
);

-- By which countings of its centre events are rolled up, and how far.
CREATE TABLE roll_ups (
  id BIGINT PRIMARY KEY DEFAULT next_id('roll_ups'),
  generation TEXT COLLATE "C" NOT NULL UNIQUE, -- of the centre, as it is called
  definition TEXT COLLATE "C" NOT NULL, -- JSON: what the meters measure
  cursor BIGINT NOT NULL,               -- the last event that is rolled up
  is_complete BIGINT NOT NULL CHECK (is_complete IN (0, 1)) -- 1: all there was ever was
);

-- Each time that events were rolled up: those behind after_event_id, up to up_to_event_id,
-- into rows of events that begin at first_event_id. Append-only.
CREATE TABLE rolls (
  id BIGINT PRIMARY KEY DEFAULT next_id('rolls'),
  generation TEXT COLLATE "C" NOT NULL,
  after_event_id BIGINT NOT NULL,
  up_to_event_id BIGINT NOT NULL,
  first_event_id BIGINT NOT NULL,
  events BIGINT NOT NULL
);
CREATE INDEX rolls_by_event ON rolls (generation, first_event_id);

-- At a centre: whether an edge forwards its events, or what they come to.
ALTER TABLE edges ADD COLUMN forwards TEXT COLLATE "C" NOT NULL DEFAULT 'events'
  CHECK (forwards IN ('events', 'usage'));
