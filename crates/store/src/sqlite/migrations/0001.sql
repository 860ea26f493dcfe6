-- Times are milliseconds since 1970 on the database's clock. A `revision` is a value of instance.revision:
-- whatever a follower must see takes the next one.

CREATE TABLE instance (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    database_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    source TEXT,
    source_revision INTEGER NOT NULL DEFAULT 0,
    -- A text sealed with the seal key, so that another key is noticed before it is used.
    seal_key_check BLOB NOT NULL
) STRICT;

CREATE TABLE api_key (
    id INTEGER PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('admin', 'standard', 'route-reader')),
    username TEXT COLLATE NOCASE,
    label TEXT,
    hash BLOB NOT NULL UNIQUE,
    mask TEXT NOT NULL,
    from_file INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_key_username ON api_key (username);

CREATE TABLE registry (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT,
    address INTEGER REFERENCES registry_address,
    cordoned_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX registry_revision ON registry (revision);

CREATE TABLE registry_address (
    id INTEGER PRIMARY KEY,
    registry INTEGER NOT NULL REFERENCES registry,
    address TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (registry, address)
) STRICT;

CREATE TABLE registry_credentials (
    registry INTEGER PRIMARY KEY REFERENCES registry,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE algorithm (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE,
    document TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX algorithm_live ON algorithm (owner, name) WHERE deleted_at IS NULL;

CREATE TABLE image (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (repository, digest, source)
) STRICT;
CREATE INDEX image_revision ON image (revision);

CREATE TABLE image_tag (
    image INTEGER NOT NULL REFERENCES image,
    tag TEXT NOT NULL,
    resolved_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (image, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_tag_revision ON image_tag (revision);

CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    algorithm INTEGER NOT NULL REFERENCES algorithm,
    hash TEXT NOT NULL,
    image INTEGER NOT NULL REFERENCES image,
    major INTEGER,
    minor INTEGER,
    patch INTEGER,
    document TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    published_at INTEGER,
    UNIQUE (algorithm, hash)
) STRICT;
CREATE INDEX version_image ON version (algorithm, image);
CREATE UNIQUE INDEX version_number ON version (algorithm, major, minor, patch) WHERE published_at IS NOT NULL;

CREATE TABLE build (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    algorithm INTEGER NOT NULL REFERENCES algorithm,
    -- The version that it yielded; a failed build has none.
    version INTEGER REFERENCES version,
    commit_sha TEXT NOT NULL,
    log TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL
) STRICT;
CREATE INDEX build_algorithm ON build (algorithm);
CREATE INDEX build_version ON build (version);

-- What should lie at one destination reference: one row, one writer.
CREATE TABLE push (
    id INTEGER PRIMARY KEY,
    registry INTEGER NOT NULL REFERENCES registry,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version,
    image INTEGER NOT NULL REFERENCES image,
    -- Counts what was asked.
    generation INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'in-progress', 'succeeded', 'failed')),
    reason TEXT,
    message TEXT,
    pullable TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    first_try_at INTEGER,
    down_since INTEGER,
    due_at INTEGER,
    -- Counts who worked at it; every write of a worker names its value.
    lease INTEGER NOT NULL DEFAULT 0,
    leased_by TEXT,
    leased_until INTEGER,
    claimed_at INTEGER,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL,
    UNIQUE (registry, repository, tag),
    CHECK ((status = 'pending') = (due_at IS NOT NULL)),
    CHECK ((status = 'in-progress') = (leased_until IS NOT NULL))
) STRICT;
CREATE INDEX push_due ON push (registry, due_at) WHERE status = 'pending';
CREATE INDEX push_requested ON push (requested_at) WHERE status = 'pending';
CREATE INDEX push_leased ON push (leased_until) WHERE status = 'in-progress';
CREATE INDEX push_running ON push (registry) WHERE status = 'in-progress';
CREATE INDEX push_version ON push (version, requested_at);
CREATE INDEX push_status ON push (status);

CREATE TABLE push_credentials (
    push INTEGER NOT NULL REFERENCES push,
    generation INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (push, generation)
) STRICT, WITHOUT ROWID;

-- The tries of a push, for people; the last 20 are kept.
CREATE TABLE attempt (
    push INTEGER NOT NULL REFERENCES push,
    lease INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason TEXT,
    message TEXT,
    bytes_uploaded INTEGER NOT NULL,
    bytes_mounted INTEGER NOT NULL,
    bytes_present INTEGER NOT NULL,
    PRIMARY KEY (push, lease)
) STRICT, WITHOUT ROWID;

CREATE TABLE route (
    image INTEGER NOT NULL REFERENCES image,
    registry INTEGER NOT NULL REFERENCES registry,
    address INTEGER NOT NULL REFERENCES registry_address,
    tag TEXT NOT NULL,
    succeeded_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (image, registry)
) STRICT, WITHOUT ROWID;
CREATE INDEX route_revision ON route (revision);
CREATE INDEX route_registry ON route (registry, succeeded_at);
