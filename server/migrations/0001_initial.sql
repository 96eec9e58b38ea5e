-- Definitions: what administrators write with mkdef and chdef. Attributes are kept as given, known or not.
CREATE TABLE object (
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (type, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE attribute (
    type  TEXT NOT NULL,
    name  TEXT NOT NULL,
    attr  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (type, name, attr),
    FOREIGN KEY (type, name) REFERENCES object (type, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX attribute_by_attr ON attribute (type, attr);

-- Deployments. The newest one of a node that was not withdrawn says where the node stands. Tickets and tokens are
-- not here: of each there is a hash, and the nonce that the ticket is derived from. Times are milliseconds since the
-- epoch, UTC.
CREATE TABLE job (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    node        TEXT NOT NULL,
    image       TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    macs        TEXT NOT NULL,
    uuid        TEXT,
    disk_rules  TEXT NOT NULL,
    nonce       BLOB NOT NULL,
    ticket_hash BLOB NOT NULL UNIQUE,
    expires_at  INTEGER NOT NULL,
    consumed_at INTEGER,
    attempt     BLOB,
    token_hash  BLOB UNIQUE,
    report_hash BLOB UNIQUE,
    state       TEXT NOT NULL,
    phase       TEXT,
    reason      TEXT,
    done        INTEGER NOT NULL DEFAULT 0,
    total       INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    changed_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX job_by_node ON job (node, seq);

-- Nodes that nodeset took off the network boot.
CREATE TABLE offline (
    node TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What happened: who, when, why.
CREATE TABLE event (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    node  TEXT,
    actor TEXT NOT NULL,
    kind  TEXT NOT NULL,
    text  TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_node ON event (node, id);
