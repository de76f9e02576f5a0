-- Keys under which changes were asked for, each with its change: a second request under
-- one changes nothing. They are forgotten after some days.
CREATE TABLE idempotency_keys (
  key BYTEA NOT NULL PRIMARY KEY, -- a digest of the key, and of whose it is
  request BYTEA NOT NULL,        -- a digest of all that was asked for
  used_ms BIGINT NOT NULL
);

CREATE INDEX idempotency_keys_used ON idempotency_keys (used_ms);

-- What was answered, where it is kept: it is written behind the change.
CREATE TABLE idempotency_answers (
  key BYTEA NOT NULL PRIMARY KEY,
  status BIGINT NOT NULL,
  answer BYTEA NOT NULL
);
