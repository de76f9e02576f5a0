-- Subjects whose name was taken out of the ledger: a row to each, appended and never
-- changed. Who it was is not said: `digest` is keyed, and shows that a name that somebody
-- brings was erased.
CREATE TABLE erasures (
  id INTEGER PRIMARY KEY,
  alias TEXT NOT NULL UNIQUE,    -- what stands in the place of the name, everywhere
  digest BLOB NOT NULL,
  events INTEGER NOT NULL,
  batches INTEGER NOT NULL,
  erased_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;

-- Rows whose link of a chain was made over the name: the chain stays as it is, and such a
-- row is what was committed but for the name if it fits the seal, which is keyed.
CREATE TABLE erasure_seals (
  entry TEXT NOT NULL,           -- a table: batches, terms
  row_id INTEGER NOT NULL,
  erasure_id INTEGER NOT NULL,   -- the last one that the row was changed by
  seal BLOB NOT NULL,
  PRIMARY KEY (entry, row_id)
) STRICT, WITHOUT ROWID;
