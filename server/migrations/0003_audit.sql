-- Calls of administrators that change something, and those that policy denied. Never changed but for the outcome,
-- never removed.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    command    TEXT NOT NULL,
    targets    TEXT NOT NULL,
    parameters TEXT NOT NULL,
    allowed    INTEGER NOT NULL,
    rule       TEXT,
    done       INTEGER,
    failed     INTEGER
) STRICT;
