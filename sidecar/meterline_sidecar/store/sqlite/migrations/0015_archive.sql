-- Files of the archive that the oldest batches left for, or were brought back from: a
-- log of moves, appended and never changed. Where the last one ends, the ledger begins.
CREATE TABLE archive_moves (
  id INTEGER PRIMARY KEY,
  is_out INTEGER NOT NULL CHECK (is_out IN (0, 1)), -- 0: brought back
  file TEXT NOT NULL,
  file_bytes INTEGER NOT NULL,
  digest TEXT NOT NULL,          -- SHA-256 of the file, in hex
  first_batch_id INTEGER NOT NULL,
  last_batch_id INTEGER NOT NULL,
  first_event_id INTEGER NOT NULL,
  events INTEGER NOT NULL,
  first_loss_id INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  previous_mac BLOB NOT NULL,    -- of the batch before the first one
  mac BLOB NOT NULL,             -- of the last one
  first_ms INTEGER NOT NULL,     -- the span of what was counted: [first_ms, beyond_ms)
  beyond_ms INTEGER NOT NULL,
  moved_ms INTEGER NOT NULL
) STRICT;

-- Few come back. Whether what left is still away is asked of every move.
CREATE INDEX archive_moves_back ON archive_moves (id, first_batch_id) WHERE is_out = 0;
