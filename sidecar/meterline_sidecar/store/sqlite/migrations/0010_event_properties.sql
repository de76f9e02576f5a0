-- What an event and its quantities are told apart by: {"all": {"tenant": "eu-1"},
-- "parts": [["tokens", 512, {"model": "large"}]]}, either left out where it is empty.
-- NULL without properties. A part's amount is within the total in `quantities`, and its
-- properties go over those of "all".
ALTER TABLE events ADD COLUMN properties TEXT;
