-- Generations that counted again beside the one that is read, and were given up before
-- they had caught up with it.
CREATE TABLE generation_ends (
  id INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
