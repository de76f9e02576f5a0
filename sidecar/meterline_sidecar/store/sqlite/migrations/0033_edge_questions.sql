-- What a centre wants to know of an edge that is connected to another centre of the same
-- ledger, and what that one was told. Only centres on a server have it: here it is empty.
CREATE TABLE edge_questions (
  question TEXT PRIMARY KEY,    -- a name that nobody had before
  edge_id INTEGER NOT NULL,
  asked BLOB NOT NULL,          -- as it is sent to the edge
  told BLOB                     -- as it came; NULL: not yet
) STRICT, WITHOUT ROWID;
