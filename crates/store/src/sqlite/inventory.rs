//! Statements of the inventory. Each is a look-up in one index, however many repositories hold a blob.

use std::collections::HashMap;

use domain::reference::{Digest, Repository};
use rusqlite::{Connection, Transaction};

use super::columns;
use crate::StoreError;
use crate::inventory::{HOLDERS_LIMIT, Holders, Holding, Sighting};

pub(crate) fn holders(
    db: &Connection,
    host: &str,
    here: &Repository,
    digests: Vec<Digest>,
) -> Result<HashMap<Digest, Holders>, StoreError> {
    let mut holds =
        db.prepare_cached("SELECT 1 FROM holding WHERE host = ?1 AND digest = ?2 AND repository = ?3")?;
    let mut others = db.prepare_cached(
        "SELECT repository FROM holding WHERE host = ?1 AND digest = ?2 AND repository <> ?3
         ORDER BY seen_at DESC LIMIT ?4",
    )?;
    let mut known = HashMap::new();
    for digest in digests {
        let key = (host, digest.as_str(), here.as_str());
        let holders = Holders {
            here: holds.exists(key)?,
            elsewhere: others
                .query_map((key.0, key.1, key.2, HOLDERS_LIMIT), |row| columns::parsed(row, 0))?
                .collect::<rusqlite::Result<_>>()?,
        };
        if holders != Holders::default() {
            known.insert(digest, holders);
        }
    }
    Ok(known)
}

pub(crate) fn record(tx: &Transaction<'_>, sightings: &[Sighting]) -> Result<(), StoreError> {
    let now = columns::now(tx)?;
    let mut add = tx.prepare_cached(
        "INSERT INTO holding (host, digest, repository, seen_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at",
    )?;
    let mut remove =
        tx.prepare_cached("DELETE FROM holding WHERE host = ?1 AND digest = ?2 AND repository = ?3")?;
    for sighting in sightings {
        let (Sighting::Present(Holding { host, repository, digest })
        | Sighting::Absent(Holding { host, repository, digest })) = sighting;
        match sighting {
            Sighting::Present(_) => add.execute((host, digest.as_str(), repository.as_str(), now))?,
            Sighting::Absent(_) => remove.execute((host, digest.as_str(), repository.as_str()))?,
        };
    }
    Ok(())
}
