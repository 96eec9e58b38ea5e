-- With these clones ask for updates by themselves. Of a token there is its hash only, and the MAC addresses that the
-- node had when it was given: with others it is worth nothing.
CREATE TABLE node_token (
    node TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    macs TEXT NOT NULL
) STRICT, WITHOUT ROWID;
