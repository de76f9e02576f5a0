-- Files of events that were read in, each a row that is never changed.
CREATE TABLE imports (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  file TEXT NOT NULL,            -- what whoever began it calls it
  begun_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX imports_by_name ON imports (name);

-- What became of an import: a row to each step, with the numbers as they were then.
CREATE TABLE import_states (
  id INTEGER PRIMARY KEY,
  import_id INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('staged', 'committing', 'committed', 'discarded')),
  at_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  lines INTEGER NOT NULL,
  events INTEGER NOT NULL,
  bad INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  conflicts INTEGER NOT NULL
) STRICT;
CREATE INDEX import_states_by_import ON import_states (import_id);

-- Lines of a file that wait aside: nothing counts them. Deleted once that is over.
CREATE TABLE import_chunks (
  import_id INTEGER NOT NULL,
  first_line INTEGER NOT NULL,
  lines INTEGER NOT NULL,
  events INTEGER NOT NULL,
  bad INTEGER NOT NULL,
  first_ms INTEGER,              -- of its events; NULL where it has none
  digest BLOB NOT NULL,          -- of the lines as they came
  mac BLOB NOT NULL,             -- over the content and its place
  accepted INTEGER,              -- NULL until they are stored
  duplicates INTEGER NOT NULL DEFAULT 0,
  conflicts INTEGER NOT NULL DEFAULT 0,
  content BLOB,                  -- NULL once it is stored as events; last, as it is long
  PRIMARY KEY (import_id, first_line)
) STRICT;

-- Lines that are left out, and why: the first ones of each import.
CREATE TABLE import_faults (
  import_id INTEGER NOT NULL,
  line INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  source TEXT,
  external_id TEXT,
  field TEXT,
  reason TEXT NOT NULL,
  PRIMARY KEY (import_id, line)
) STRICT;
