//! Statements of the inventory. Each is a look-up in one index, however many repositories hold a blob.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::reference::{Digest, Repository};
use domain::registry::Address;
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::columns::{self, kept};
use crate::StoreError;
use crate::inventory::{HOLDERS_LIMIT, Holders, Holding, Sighting};

/// Holdings that are forgotten in one step.
const STEP: u64 = 1_000;

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

pub(crate) fn count(db: &Connection) -> Result<u64, StoreError> {
    Ok(db.query_one("SELECT count(*) AS n FROM holding", [], |row| columns::count(row, "n"))?)
}

pub(crate) fn prune(tx: &Transaction<'_>, unseen_for: Duration, excess: u64) -> Result<u64, StoreError> {
    let long_ago =
        columns::now(tx)?.saturating_sub(kept(unseen_for.as_millis().try_into().unwrap_or(u64::MAX)));
    let unseen = tx
        .prepare_cached(
            "DELETE FROM holding WHERE (host, digest, repository) IN
                 (SELECT host, digest, repository FROM holding WHERE seen_at <= ?1 ORDER BY seen_at LIMIT ?2)",
        )?
        .execute((long_ago, kept(STEP)))?;
    let surplus = tx
        .prepare_cached(
            "DELETE FROM holding WHERE (host, digest, repository) IN
                 (SELECT host, digest, repository FROM holding ORDER BY seen_at LIMIT ?1)",
        )?
        .execute([kept(excess.saturating_sub(unseen as u64).min(STEP))])?;
    Ok((unseen + surplus + prune_left_hosts(tx)?) as u64)
}

/// What lies at hosts that nothing is pushed to or pulled from any more.
fn prune_left_hosts(tx: &Transaction<'_>) -> Result<usize, StoreError> {
    let in_use: HashSet<String> = tx
        .prepare_cached(
            "SELECT a.address FROM registry r JOIN registry_address a ON a.id = r.address
             WHERE r.deleted_at IS NULL UNION SELECT source FROM instance WHERE source IS NOT NULL",
        )?
        .query_map([], |row| Ok(columns::parsed::<Address>(row, "address")?.host().to_string()))?
        .collect::<Result<_, _>>()?;
    let mut next = tx.prepare_cached("SELECT host FROM holding WHERE host > ?1 ORDER BY host LIMIT 1")?;
    let mut remove = tx.prepare_cached(
        "DELETE FROM holding WHERE (host, digest, repository) IN
             (SELECT host, digest, repository FROM holding WHERE host = ?1 LIMIT ?2)",
    )?;
    let (mut host, mut removed) = (String::new(), 0);
    while let Some(found) = next.query_one([&host], |row| row.get(0)).optional()? {
        host = found;
        if !in_use.contains(&host) {
            removed += remove.execute((&host, kept(STEP)))?;
        }
    }
    Ok(removed)
}
