-- What clients called their requests, so that one that is sent again counts once: for a
-- time, then it is forgotten. The key is a keyed digest; time_ms is when it happened.
CREATE TABLE request_keys (
  key BLOB PRIMARY KEY,
  event_id INTEGER NOT NULL,
  time_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_keys_by_time ON request_keys (time_ms);
