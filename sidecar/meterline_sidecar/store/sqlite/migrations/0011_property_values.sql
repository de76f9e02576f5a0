-- The values of properties that usage is told apart by, each for the events behind one;
-- an empty value: from this event on, there were more than the limit. Others are added up
-- together, so that the number of groups is bounded whatever an app records.
CREATE TABLE property_values (
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  after_event_id INTEGER NOT NULL,
  PRIMARY KEY (name, value)
) STRICT, WITHOUT ROWID;
