-- Owners, in lower case, take turns at a registry; what a publication asked for goes before the rest of its owner's.
ALTER TABLE push ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE push ADD COLUMN published INTEGER NOT NULL DEFAULT 0;
UPDATE push SET owner = (SELECT lower(a.owner) FROM version v JOIN algorithm a ON a.id = v.algorithm WHERE v.id = push.version);
CREATE INDEX push_turn ON push (registry, owner, published, due_at) WHERE status = 'pending';
DROP INDEX push_running;
CREATE INDEX push_running ON push (registry, leased_by) WHERE status = 'in-progress';

-- The owner whose push to the registry was claimed last.
ALTER TABLE registry ADD COLUMN turn TEXT NOT NULL DEFAULT '';

-- Registries whose pushes wait together.
CREATE TABLE registry_hold (
    registry INTEGER PRIMARY KEY REFERENCES registry,
    held_since INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    hold_reason TEXT NOT NULL,
    hold_message TEXT NOT NULL,
    -- The push that looks whether it is back, and its lease; and one that somebody has asked for again.
    probe INTEGER,
    probe_lease INTEGER,
    asked INTEGER
) STRICT;

-- What was not seen for the longest time is forgotten first.
CREATE INDEX holding_age ON holding (seen_at);
