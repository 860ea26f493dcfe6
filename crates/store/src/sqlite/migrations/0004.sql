-- Running pods that name an image which the ledger knows, as an auditor last saw them.
CREATE TABLE pod (
    uid TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Kind and name of its controller.
    owner TEXT,
    state TEXT NOT NULL CHECK (state IN ('routed', 'unrouted', 'stray')),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pod_state ON pod (state, uid);
CREATE INDEX pod_name ON pod (namespace, name);

CREATE TABLE pod_image (
    pod TEXT NOT NULL REFERENCES pod ON DELETE CASCADE,
    -- A container's name, or `volume/NAME`.
    entry TEXT NOT NULL,
    image TEXT NOT NULL,
    -- What the pod asked for before it was routed, as it reports.
    asked TEXT,
    state TEXT NOT NULL CHECK (state IN ('routed', 'unrouted', 'stray')),
    -- The registry that `image` names.
    registry INTEGER REFERENCES registry,
    why TEXT NOT NULL,
    PRIMARY KEY (pod, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX pod_image_registry ON pod_image (registry, pod) WHERE registry IS NOT NULL;

-- Controllers that keep creating pods anew, each of which was routed.
CREATE TABLE recreator (
    namespace TEXT NOT NULL,
    owner TEXT NOT NULL,
    pods INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, owner)
) STRICT, WITHOUT ROWID;

-- When an auditor last saw the cluster.
CREATE TABLE audit (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seen_at INTEGER NOT NULL
) STRICT;
