-- Files that an edge wrote of events that are in its ledger still: each a run of batches,
-- whole and in order, that follows on the one before. Append-only: a file that was written
-- anew has another row, with the same mac. The centre keeps the rows of all its edges.
CREATE TABLE edge_files (
  id INTEGER PRIMARY KEY,
  edge_id INTEGER NOT NULL,      -- of the table edges; 0: of this ledger itself
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
  learned_ms INTEGER NOT NULL,   -- when the last batch was stored, by the edge's clock
  written_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX edge_files_in_order ON edge_files (edge_id, mac, id);
CREATE INDEX edge_files_by_file ON edge_files (edge_id, file);
