-- Files that an edge wrote of events that are in its ledger still: each a run of batches,
-- whole and in order, that follows on the one before. Append-only: a file that was written
-- anew has another row, with the same mac. The centre keeps the rows of all its edges.
CREATE TABLE edge_files (
  id BIGINT PRIMARY KEY DEFAULT next_id('edge_files'),
  edge_id BIGINT NOT NULL,      -- of the table edges; 0: of this ledger itself
  file TEXT COLLATE "C" NOT NULL,
  file_bytes BIGINT NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,          -- SHA-256 of the file, in hex
  first_batch_id BIGINT NOT NULL,
  last_batch_id BIGINT NOT NULL,
  first_event_id BIGINT NOT NULL,
  events BIGINT NOT NULL,
  first_loss_id BIGINT NOT NULL,
  losses BIGINT NOT NULL,
  previous_mac BYTEA NOT NULL,    -- of the batch before the first one
  mac BYTEA NOT NULL,             -- of the last one
  first_ms BIGINT NOT NULL,     -- the span of what was counted: [first_ms, beyond_ms)
  beyond_ms BIGINT NOT NULL,
  learned_ms BIGINT NOT NULL,   -- when the last batch was stored, by the edge's clock
  written_ms BIGINT NOT NULL
);
CREATE INDEX edge_files_in_order ON edge_files (edge_id, mac, id);
CREATE INDEX edge_files_by_file ON edge_files (edge_id, file);
