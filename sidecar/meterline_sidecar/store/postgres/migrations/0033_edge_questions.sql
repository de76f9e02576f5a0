-- What a centre wants to know of an edge that is connected to another centre of the same
-- ledger, and what that one was told. Rows are there for seconds: they are not written
-- ahead, and none is left behind a crash of the server.
CREATE UNLOGGED TABLE edge_questions (
  question TEXT COLLATE "C" PRIMARY KEY, -- a name that nobody had before
  edge_id BIGINT NOT NULL,
  asked BYTEA NOT NULL, -- as it is sent to the edge
  told BYTEA -- as it came; NULL: not yet
);
