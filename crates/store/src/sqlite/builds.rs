//! Statements of builds.

use domain::version::VersionHash;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::{algorithms, columns, pushes};
use crate::{Build, BuildStatus, NewBuild, PageRequest, StoreError};

const SELECT: &str = "SELECT b.*, v.hash FROM build b LEFT JOIN version v ON v.id = b.version";

pub(super) fn insert(
    tx: &Transaction<'_>,
    algorithm: i64,
    new: &NewBuild,
    version: Option<&(i64, VersionHash)>,
    now: i64,
) -> Result<i64, StoreError> {
    let commit = match (&new.commit, version) {
        (Some(commit), _) => commit.as_str(),
        (None, Some((_, hash))) => hash.as_str(),
        (None, None) => "",
    };
    Ok(tx.query_one(
        "INSERT INTO build (uuid, algorithm, version, commit_sha, log, started_at, finished_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id",
        (
            Uuid::new_v4().to_string(),
            algorithm,
            version.map(|(version, _)| version),
            commit,
            &new.log,
            columns::ms(new.started_at),
            now,
        ),
        |row| row.get(0),
    )?)
}

pub(crate) fn list(
    db: &Connection,
    algorithm: Uuid,
    page: PageRequest,
) -> Result<Option<Vec<Build>>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(Some(Vec::new())) };
    let before = match page.after {
        None => i64::MAX,
        Some(marker) => match row_id(db, algorithm, marker)? {
            Some(id) => id,
            None => return Ok(None),
        },
    };
    let mut statement = db.prepare_cached(&format!(
        "{SELECT} WHERE b.algorithm = ?1 AND b.id < ?2 ORDER BY b.id DESC LIMIT ?3"
    ))?;
    let builds = statement.query_map((algorithm, before, page.limit), |row| from_row(db, row))?;
    Ok(Some(builds.collect::<Result<_, _>>()?))
}

pub(crate) fn find(db: &Connection, algorithm: Uuid, build: Uuid) -> Result<Option<Build>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(None) };
    match row_id(db, algorithm, build)? {
        Some(id) => Ok(Some(reread(db, id)?)),
        None => Ok(None),
    }
}

pub(crate) fn log(db: &Connection, algorithm: Uuid, build: Uuid) -> Result<Option<String>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(None) };
    Ok(db
        .query_one(
            "SELECT log FROM build WHERE uuid = ?1 AND algorithm = ?2",
            (build.to_string(), algorithm),
            |row| row.get(0),
        )
        .optional()?)
}

pub(super) fn reread(db: &Connection, build: i64) -> rusqlite::Result<Build> {
    db.prepare_cached(&format!("{SELECT} WHERE b.id = ?1"))?.query_one([build], |row| from_row(db, row))
}

/// The newest build that yielded a version; a version comes into being with one.
pub(super) fn newest_of_version(db: &Connection, version: i64) -> rusqlite::Result<Build> {
    db.prepare_cached(&format!("{SELECT} WHERE b.version = ?1 ORDER BY b.id DESC LIMIT 1"))?
        .query_one([version], |row| from_row(db, row))
}

fn row_id(db: &Connection, algorithm: i64, build: Uuid) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM build WHERE uuid = ?1 AND algorithm = ?2")?
        .query_one((build.to_string(), algorithm), |row| row.get(0))
        .optional()
}

fn from_row(db: &Connection, row: &Row<'_>) -> rusqlite::Result<Build> {
    let version: Option<i64> = row.get("version")?;
    Ok(Build {
        uuid: columns::parsed(row, "uuid")?,
        status: if version.is_some() { BuildStatus::Succeeded } else { BuildStatus::Failed },
        commit_sha: row.get("commit_sha")?,
        version: columns::parsed_option(row, "hash")?,
        started_at: columns::moment(row, "started_at")?,
        finished_at: columns::moment(row, "finished_at")?,
        registry_status: match version {
            Some(version) => pushes::latest(db, version)?,
            None => None,
        },
    })
}
