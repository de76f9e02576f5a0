-- Keys under which changes were asked for, each with its change: a second request under
-- one changes nothing. They are forgotten after some days.
CREATE TABLE idempotency_keys (
  key BLOB NOT NULL PRIMARY KEY, -- a digest of the key, and of whose it is
  request BLOB NOT NULL,        -- a digest of all that was asked for
  used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_used ON idempotency_keys (used_ms);

-- What was answered, where it is kept: it is written behind the change.
CREATE TABLE idempotency_answers (
  key BLOB NOT NULL PRIMARY KEY,
  status INTEGER NOT NULL,
  answer BLOB NOT NULL
) STRICT, WITHOUT ROWID;
