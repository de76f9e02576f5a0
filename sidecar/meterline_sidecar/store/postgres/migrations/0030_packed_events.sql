-- Events are packed in a file of SQLite's only: here the table stays empty.
CREATE TABLE packed_events (
  first_id BIGINT PRIMARY KEY,
  last_id BIGINT NOT NULL,
  events BIGINT NOT NULL,
  body BYTEA NOT NULL,
  CHECK (last_id >= first_id AND last_id - first_id < 16384)
);
