-- Usage of a subject in a UTC day that is over, of many groups in one row, as
-- store/packed_days.py writes it: in the place of that many rows of usage_days. What a day
-- comes to is its pack and the rows that there are of it.
CREATE TABLE packed_days (
  generation INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  day_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (generation, subject_id, day_ms)
) STRICT;
