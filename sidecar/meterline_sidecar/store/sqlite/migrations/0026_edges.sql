-- Other sidecars that forward their events to this one. Everything but who they are is
-- how they stood when they were last heard of. Up to `batch` of their own ledger all is
-- here; of the batches up to `ahead`, whose mac is `mark`, something may be.
CREATE TABLE edges (
  id INTEGER PRIMARY KEY,
  edge TEXT NOT NULL UNIQUE,     -- 128 random bits of its ledger
  name TEXT NOT NULL,
  credential TEXT NOT NULL,      -- a token's id, or whose certificate; '': not known
  program TEXT NOT NULL,
  first_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  ahead INTEGER NOT NULL,
  mark BLOB NOT NULL,
  low_ms INTEGER NOT NULL,       -- everything of it from before is here
  skew_ms INTEGER NOT NULL,      -- its clock, less ours
  trouble TEXT NOT NULL          -- why it is refused until a person decides; '': it is not
) STRICT;

-- Whose events a producer's are. Those of this host are not here.
CREATE TABLE edge_producers (
  producer TEXT PRIMARY KEY,
  edge_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What people decided about edges. Append-only.
CREATE TABLE edge_decisions (
  id INTEGER PRIMARY KEY,
  edge_id INTEGER NOT NULL,
  decision TEXT NOT NULL CHECK (decision IN ('adopt', 'retire')),
  decided_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX edge_decisions_by_edge ON edge_decisions (edge_id, id);
