//! Statements of the gauges.

use domain::push::PushStatus;
use rusqlite::Connection;

use super::columns;
use crate::{PushStatistics, RegistryStatistics, StoreError};

pub(crate) fn pushes(db: &Connection) -> Result<PushStatistics, StoreError> {
    let counts = PushStatus::ALL
        .iter()
        .map(|status| {
            let count = db
                .prepare_cached("SELECT count(*) AS n FROM push WHERE status = ?1")?
                .query_one([status.as_str()], |row| columns::count(row, "n"))?;
            Ok((*status, count))
        })
        .collect::<rusqlite::Result<_>>()?;
    let (oldest_pending, now) = db.query_one(
        "SELECT (SELECT min(requested_at) FROM push WHERE status = 'pending') AS oldest,
                CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now",
        [],
        |row| Ok((columns::moment_option(row, "oldest")?, columns::moment(row, "now")?)),
    )?;
    let registries = db
        .prepare_cached(
            "SELECT r.uuid, r.name, a.address,
                    (SELECT max(succeeded_at) FROM route WHERE registry = r.id) AS last_success
             FROM registry r JOIN registry_address a ON a.id = r.address
             WHERE r.deleted_at IS NULL ORDER BY r.id",
        )?
        .query_map([], |row| {
            Ok(RegistryStatistics {
                id: columns::registry_id(row, "uuid")?,
                name: row.get("name")?,
                address: columns::parsed(row, "address")?,
                last_success: columns::moment_option(row, "last_success")?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(PushStatistics { counts, oldest_pending, now, registries })
}
