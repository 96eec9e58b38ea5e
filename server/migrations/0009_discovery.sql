-- Addresses lent to machines that are nobody's. There is no time in it: after a restart of the server every one counts
-- as lent just then.
CREATE TABLE lease (
    ip    TEXT PRIMARY KEY,
    mac   TEXT NOT NULL UNIQUE,
    power INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Machines that were discovered, by the interface that they booted from. What they say of themselves is theirs: other
-- machines may say the same.
CREATE TABLE discovered (
    mac        TEXT PRIMARY KEY,
    uuid       TEXT NOT NULL,
    ip         TEXT NOT NULL,
    machine    TEXT NOT NULL,
    node       TEXT,
    method     TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Nodes that discovered machines become one after the other; empty while that is not wanted.
CREATE TABLE discovery_sequence (
    place INTEGER PRIMARY KEY,
    node  TEXT NOT NULL UNIQUE
) STRICT;
