-- Plain events of a run of ids, as store/packs.py writes them: what is in a pack is in no
-- row of events. Packs follow one another without a hole; what is no plain event of such
-- a run stays a row.
CREATE TABLE packed_events (
  first_id INTEGER PRIMARY KEY,
  last_id INTEGER NOT NULL,
  events INTEGER NOT NULL, -- how many of the run are in it
  body BLOB NOT NULL,
  CHECK (last_id >= first_id AND last_id - first_id < 16384)
) STRICT;
