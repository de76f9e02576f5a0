-- Keeps the number free for a migration that is made beside this one.
SELECT 1;
