//! Statements of algorithms.

use domain::algorithm::{AlgorithmName, Username};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use serde_json::Value;
use uuid::Uuid;

use super::columns;
use crate::algorithms::merge;
use crate::{Algorithm, AlgorithmRef, CreateAlgorithmError, StoreError};

pub(crate) fn create(
    tx: &Transaction<'_>,
    owner: &Username,
    name: &AlgorithmName,
    document: &Value,
) -> Result<Algorithm, CreateAlgorithmError> {
    let taken = AlgorithmRef::Name(owner.clone(), name.clone());
    if find(tx, &taken)?.is_some() {
        return Err(CreateAlgorithmError::NameTaken);
    }
    let now = columns::now(tx).map_err(StoreError::from)?;
    let made = tx.query_one(
        "INSERT INTO algorithm (uuid, owner, name, document, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5) RETURNING *",
        (Uuid::new_v4().to_string(), owner.as_str(), name.as_str(), document.to_string(), now),
        from_row,
    );
    Ok(made.map_err(StoreError::from)?)
}

pub(crate) fn find(db: &Connection, algorithm: &AlgorithmRef) -> Result<Option<Algorithm>, StoreError> {
    let found = match algorithm {
        AlgorithmRef::Uuid(uuid) => db
            .prepare_cached("SELECT * FROM algorithm WHERE uuid = ?1 AND deleted_at IS NULL")?
            .query_one([uuid.to_string()], from_row),
        AlgorithmRef::Name(owner, name) => db
            .prepare_cached("SELECT * FROM algorithm WHERE owner = ?1 AND name = ?2 AND deleted_at IS NULL")?
            .query_one([owner.as_str(), name.as_str()], from_row),
    };
    Ok(found.optional()?)
}

pub(crate) fn update(
    tx: &Transaction<'_>,
    algorithm: Uuid,
    change: &Value,
) -> Result<Option<Algorithm>, StoreError> {
    let Some(Algorithm { mut document, .. }) = find(tx, &AlgorithmRef::Uuid(algorithm))? else {
        return Ok(None);
    };
    merge(&mut document, change);
    Ok(tx
        .query_one(
            "UPDATE algorithm SET document = ?2, updated_at = ?3
             WHERE uuid = ?1 AND deleted_at IS NULL RETURNING *",
            (algorithm.to_string(), document.to_string(), columns::now(tx)?),
            from_row,
        )
        .optional()?)
}

pub(crate) fn remove(tx: &Transaction<'_>, algorithm: Uuid) -> Result<bool, StoreError> {
    let removed = tx.execute(
        "UPDATE algorithm SET deleted_at = ?2 WHERE uuid = ?1 AND deleted_at IS NULL",
        (algorithm.to_string(), columns::now(tx)?),
    )?;
    Ok(removed > 0)
}

/// The row of a live algorithm.
pub(super) fn row_id(db: &Connection, algorithm: Uuid) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM algorithm WHERE uuid = ?1 AND deleted_at IS NULL")?
        .query_one([algorithm.to_string()], |row| row.get(0))
        .optional()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Algorithm> {
    Ok(Algorithm {
        uuid: columns::parsed(row, "uuid")?,
        owner: columns::parsed(row, "owner")?,
        name: columns::parsed(row, "name")?,
        document: columns::document(row, "document")?,
        created_at: columns::moment(row, "created_at")?,
        updated_at: columns::moment(row, "updated_at")?,
    })
}
