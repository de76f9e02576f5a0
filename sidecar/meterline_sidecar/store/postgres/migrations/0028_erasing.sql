-- Files of the archive in which a name stood that is being erased: each was written anew
-- beside the old one. A row is there from then on until the old file is deleted.
CREATE TABLE erasing_files (
  id BIGINT PRIMARY KEY DEFAULT next_id('erasing_files'),
  old_file TEXT COLLATE "C" NOT NULL UNIQUE, -- deleted once the name is out of the ledger
  move TEXT COLLATE "C" NOT NULL,            -- JSON: the row of archive_moves for the new file
  is_away BIGINT NOT NULL CHECK (is_away IN (0, 1)) -- 1: what it holds is not in the ledger
);

-- A file that was written anew has a second row: which one of them holds is asked for each.
CREATE INDEX archive_moves_in_order ON archive_moves (first_batch_id, id);

-- Numbers of rows that have no other, as SQLite gives them by itself.
ALTER TABLE import_faults ADD COLUMN rowid BIGINT GENERATED ALWAYS AS IDENTITY;
ALTER TABLE stripe_events ADD COLUMN rowid BIGINT GENERATED ALWAYS AS IDENTITY;
