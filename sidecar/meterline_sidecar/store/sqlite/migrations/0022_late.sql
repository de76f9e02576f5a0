-- Late usage that a person does not want billed. What waits for a decision is a correction
-- of the kind 'late', and accepting it takes that back.
CREATE TABLE late_rejections (
  id INTEGER PRIMARY KEY,
  correction_id INTEGER NOT NULL UNIQUE,
  rejected_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
