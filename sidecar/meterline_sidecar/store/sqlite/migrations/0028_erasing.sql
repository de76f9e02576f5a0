-- Files of the archive in which a name stood that is being erased: each was written anew
-- beside the old one. A row is there from then on until the old file is deleted.
CREATE TABLE erasing_files (
  id INTEGER PRIMARY KEY,
  old_file TEXT NOT NULL UNIQUE, -- deleted once the name is out of the ledger
  move TEXT NOT NULL,            -- JSON: the row of archive_moves for the new file
  is_away INTEGER NOT NULL CHECK (is_away IN (0, 1)) -- 1: what it holds is not in the ledger
) STRICT;

-- A file that was written anew has a second row: which one of them holds is asked for each.
CREATE INDEX archive_moves_in_order ON archive_moves (first_batch_id, id);
