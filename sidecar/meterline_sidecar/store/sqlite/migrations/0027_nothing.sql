-- Holds the place of a step that is being made elsewhere.
SELECT 1;
