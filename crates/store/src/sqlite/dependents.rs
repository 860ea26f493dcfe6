//! Statements of what depends on a registry.

use domain::registry::RegistryId;
use rusqlite::Connection;

use super::{columns, pods};
use crate::pods::Audit;
use crate::{DependentVersion, Dependents, StoreError};

/// How many of each kind are named.
const FIRST: u32 = 20;

const VERSIONS: &str = "FROM route o JOIN version v ON v.image = o.image
         JOIN algorithm l ON l.id = v.algorithm AND l.deleted_at IS NULL
    WHERE o.registry = ?1 AND NOT EXISTS
        (SELECT 1 FROM route n JOIN registry r ON r.id = n.registry
         WHERE n.image = o.image AND n.revision > o.revision AND r.deleted_at IS NULL)";

/// What depends on the registry with this id, whose row is given.
pub(super) fn of(db: &Connection, id: RegistryId, registry: i64) -> Result<Dependents, StoreError> {
    let versions = db
        .query_one(&format!("SELECT count(*) AS n {VERSIONS}"), [registry], |row| columns::count(row, "n"))?;
    let mut first = db.prepare(&format!(
        "SELECT l.owner, l.name, v.hash {VERSIONS} ORDER BY l.owner, l.name, v.id LIMIT ?2"
    ))?;
    let first_versions = first.query_map((registry, FIRST), |row| {
        Ok(DependentVersion {
            owner: columns::parsed(row, "owner")?,
            algorithm: columns::parsed(row, "name")?,
            hash: columns::parsed(row, "hash")?,
        })
    })?;
    let pushes = |status: &str| {
        db.query_one(
            "SELECT count(*) AS n FROM push WHERE registry = ?1 AND status = ?2",
            (registry, status),
            |row| columns::count(row, "n"),
        )
    };
    Ok(Dependents {
        versions,
        first_versions: first_versions.collect::<Result<_, _>>()?,
        pushes_pending: pushes("pending")?,
        pushes_running: pushes("in-progress")?,
        pods: Audit { seen_at: pods::seen_at(db)?, found: pods::on(db, id, FIRST)? },
    })
}
