-- What each clone is like: set by its first boot, then by updates and verifications.
CREATE TABLE synced (
    node       TEXT PRIMARY KEY,
    image      TEXT NOT NULL,
    generation INTEGER NOT NULL,
    synced_at  INTEGER NOT NULL,
    -- Paths that are not as in that generation, and when they were counted.
    drift      INTEGER,
    drift_at   INTEGER,
    -- Why it should restart, a JSON list of texts.
    reboot     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
