-- An installation that was interrupted goes on by another network boot: how often that was offered, and what machine
-- took the first ticket (model, serial number, UUID), because no other machine may go on.
ALTER TABLE job ADD COLUMN resumes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN machine TEXT;
