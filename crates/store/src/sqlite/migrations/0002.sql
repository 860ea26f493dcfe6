-- The inventory: what blob was seen in which repository of which host. Never believed, only asked about.
CREATE TABLE holding (
    host TEXT NOT NULL,
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (host, digest, repository)
) STRICT, WITHOUT ROWID;
CREATE INDEX holding_seen ON holding (host, digest, seen_at);
