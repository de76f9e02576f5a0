-- Usage of a subject in a UTC day: its windows added up, in the transaction that
-- counts them. A month is read from 31 rows instead of 2,976.
CREATE TABLE usage_days (
  generation INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  day_ms INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  totals TEXT NOT NULL,
  PRIMARY KEY (generation, subject_id, day_ms, group_id)
) STRICT, WITHOUT ROWID;

-- Usage of all subjects together, in spans of 15 minutes, of an hour and of a day.
CREATE TABLE usage_totals (
  generation INTEGER NOT NULL,
  step_ms INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  totals TEXT NOT NULL,
  PRIMARY KEY (generation, step_ms, start_ms, group_id)
) STRICT, WITHOUT ROWID;

-- What was counted before is counted again, with these: another definition starts a
-- new generation.
UPDATE generations SET definition = definition || ' ';
