-- A node can be told to do other things than to install an image; then there is no image, but what to do.
CREATE TABLE job_new (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    node        TEXT NOT NULL,
    image       TEXT,
    generation  INTEGER,
    tasks       TEXT,
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
    changed_at  INTEGER NOT NULL,
    resumes     INTEGER NOT NULL DEFAULT 0,
    machine     TEXT,
    CHECK ((image IS NULL) = (generation IS NULL) AND (image IS NULL) <> (tasks IS NULL))
) STRICT;

INSERT INTO job_new (
    seq, id, node, image, generation, macs, uuid, disk_rules, nonce, ticket_hash, expires_at, consumed_at, attempt,
    token_hash, report_hash, state, phase, reason, done, total, created_at, created_by, changed_at, resumes, machine
) SELECT
    seq, id, node, image, generation, macs, uuid, disk_rules, nonce, ticket_hash, expires_at, consumed_at, attempt,
    token_hash, report_hash, state, phase, reason, done, total, created_at, created_by, changed_at, resumes, machine
FROM job;

DROP TABLE job;
ALTER TABLE job_new RENAME TO job;
CREATE INDEX job_by_node ON job (node, seq);
