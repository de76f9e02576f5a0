-- Usage of a subject in a UTC day that is over, of many groups in one row, as
-- store/packed_days.py writes it: in the place of that many rows of usage_days. What a day
-- comes to is its pack and the rows that there are of it.
CREATE TABLE packed_days (
  generation BIGINT NOT NULL,
  subject_id BIGINT NOT NULL,
  day_ms BIGINT NOT NULL,
  body TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (generation, subject_id, day_ms)
);
