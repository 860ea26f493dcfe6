//! Statements of API keys.

use domain::access::{Caller, Role};
use domain::algorithm::Username;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::columns;
use crate::{Key, NewKey, StoreError};

pub(crate) fn create(tx: &Transaction<'_>, key: &NewKey) -> Result<Key, StoreError> {
    let now = columns::now(tx)?;
    // A username keeps the spelling in which it came into being.
    let username: Option<String> = tx
        .query_one(
            "SELECT username FROM api_key WHERE username = ?1 ORDER BY id LIMIT 1",
            [key.username.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    let username = username.unwrap_or_else(|| key.username.to_string());
    Ok(tx.query_one(
        "INSERT INTO api_key (role, username, label, hash, mask, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING *",
        (key.role.as_str(), username, &key.label, key.hash, &key.mask, now),
        from_row,
    )?)
}

pub(crate) fn list(db: &Connection, username: &Username) -> Result<Option<Vec<Key>>, StoreError> {
    let known: bool = db.query_one(
        "SELECT EXISTS (SELECT 1 FROM api_key WHERE username = ?1)",
        [username.as_str()],
        |row| row.get(0),
    )?;
    if !known {
        return Ok(None);
    }
    let keys = db
        .prepare_cached("SELECT * FROM api_key WHERE username = ?1 AND revoked_at IS NULL ORDER BY id DESC")?
        .query_map([username.as_str()], from_row)?
        .collect::<Result<_, _>>()?;
    Ok(Some(keys))
}

pub(crate) fn revoke(tx: &Transaction<'_>, username: &Username, mask: &str) -> Result<bool, StoreError> {
    let revoked = tx.execute(
        "UPDATE api_key SET revoked_at = ?3 WHERE username = ?1 AND mask = ?2 AND revoked_at IS NULL",
        (username.as_str(), mask, columns::now(tx)?),
    )?;
    Ok(revoked > 0)
}

pub(crate) fn enforce_file_key(
    tx: &Transaction<'_>,
    role: Role,
    hash: &[u8; 32],
    mask: &str,
) -> Result<(), StoreError> {
    let now = columns::now(tx)?;
    tx.execute(
        "UPDATE api_key SET revoked_at = ?3
         WHERE from_file = 1 AND role = ?1 AND hash <> ?2 AND revoked_at IS NULL",
        (role.as_str(), hash, now),
    )?;
    tx.execute(
        "INSERT INTO api_key (role, hash, mask, from_file, created_at) VALUES (?1, ?2, ?3, 1, ?4)
         ON CONFLICT (hash) DO UPDATE SET revoked_at = NULL, role = ?1, from_file = 1",
        (role.as_str(), hash, mask, now),
    )?;
    Ok(())
}

pub(crate) fn caller(db: &Connection, hash: &[u8; 32]) -> Result<Option<Caller>, StoreError> {
    Ok(db
        .prepare_cached("SELECT role, username FROM api_key WHERE hash = ?1 AND revoked_at IS NULL")?
        .query_one([hash], |row| {
            Ok(Caller { role: role(row)?, username: columns::parsed_option(row, "username")? })
        })
        .optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        role: role(row)?,
        username: columns::parsed(row, "username")?,
        label: row.get("label")?,
        mask: row.get("mask")?,
        created_at: columns::moment(row, "created_at")?,
    })
}

fn role(row: &Row<'_>) -> rusqlite::Result<Role> {
    let word = row.get_ref("role")?.as_str()?;
    Role::from_word(word).ok_or_else(|| columns::unreadable("role", &"no such role"))
}
