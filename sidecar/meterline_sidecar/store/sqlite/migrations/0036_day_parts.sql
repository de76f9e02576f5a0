-- What a subject used in a part of a UTC day that is over: before, or from, a midnight of
-- its payer's time zone. As store/day_parts.py writes it, of the windows in it; once one of
-- them changes the row is deleted, and written again later. Where there is no row, whoever
-- asks reads the windows.
CREATE TABLE day_parts (
  generation INTEGER NOT NULL,
  subject_id INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (generation, subject_id, start_ms)
) STRICT;
