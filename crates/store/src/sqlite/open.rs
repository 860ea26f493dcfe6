//! Opening: makes the file and the seal key where they are missing, refuses what does not fit before
//! anything is written, and migrates.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use domain::registry::Address;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use uuid::Uuid;

use super::{columns, connection, migrate};
use crate::error::is_unusable;
use crate::seal::SealKey;
use crate::secret_file::SecretFileError;
use crate::{OpenError, StoreError};

const CHECK_TEXT: &[u8] = b"drayage";

/// Opens the database once to make it fit; returns the key that seals its credentials.
pub(crate) fn open(path: &Path, key_file: &Path) -> Result<SealKey, OpenError> {
    make_file(path)?;
    let unusable = |cause: rusqlite::Error| match is_unusable(&cause) {
        true => OpenError::Unusable { path: path.into(), cause: Arc::new(cause) },
        false => cause.into(),
    };
    let mut db = connection::writable(path).map_err(unusable)?;
    if !migrate::is_ours(&db).map_err(unusable)? {
        return Err(OpenError::Foreign(path.into()));
    }
    refuse_a_newer_one(&db, path)?;
    let kept = if migrate::found(&db)? > 0 { Some(read_check(&db)?) } else { None };
    let key = match SealKey::read(key_file) {
        Err(SecretFileError::Missing(_)) if kept.is_some() => {
            return Err(OpenError::SealKeyLost { key: key_file.into(), database: path.into() });
        }
        Err(SecretFileError::Missing(_)) => SealKey::make(key_file).inspect(
            |_| tracing::info!(file = %key_file.display(), "seal key made; back it up with the database"),
        )?,
        read => read?,
    };
    if let Some((database, sealed)) = kept {
        check_key(&key, &sealed, &database, path, key_file)?;
    }
    write_ahead_log(&db)?;
    migrate::migrate(&mut db, |tx| fill(tx, &key))?;
    // Another process may have made the database with another key since we looked.
    let (database, sealed) = read_check(&db)?;
    check_key(&key, &sealed, &database, path, key_file)?;
    Ok(key)
}

/// Records the source registry, as a fact for followers when it is another one.
pub(crate) fn set_source(tx: &Transaction<'_>, source: &Address) -> Result<(), StoreError> {
    let kept: Option<String> = tx.query_one("SELECT source FROM instance", [], |row| row.get(0))?;
    if kept.as_deref() != Some(source.to_string().as_str()) {
        let revision = columns::next_revision(tx)?;
        tx.execute("UPDATE instance SET source = ?1, source_revision = ?2", (source.to_string(), revision))?;
    }
    Ok(())
}

/// Reads something small.
pub(crate) fn reread(db: &Connection) -> Result<(), StoreError> {
    Ok(db.query_one("SELECT one FROM instance", [], |_| Ok(()))?)
}

/// Writes something small that changes nothing.
pub(crate) fn rewrite(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE instance SET one = one", [])?;
    Ok(())
}

fn make_file(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(OpenError::File { path: path.into(), cause }),
    }
}

fn refuse_a_newer_one(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = migrate::found(db)?;
    if found > migrate::KNOWN {
        return Err(OpenError::Newer { path: path.into(), found, known: migrate::KNOWN });
    }
    Ok(())
}

/// Two processes that switch a new file to WAL at once would refuse each other; the loser tries again.
fn write_ahead_log(db: &Connection) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        match db.query_one("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Ok(_) => return Ok(()),
            Err(error) => match StoreError::from(error) {
                StoreError::Locked(_) if tries < 100 => {
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                error => return Err(error.into()),
            },
        }
    }
}

fn fill(tx: &Transaction<'_>, key: &SealKey) -> Result<(), OpenError> {
    let database = Uuid::new_v4().to_string();
    let sealed = key.seal(CHECK_TEXT, &check_place(&database)).map_err(StoreError::from)?;
    tx.execute(
        "INSERT INTO instance (one, database_id, revision, seal_key_check) VALUES (1, ?1, 0, ?2)",
        (database, sealed),
    )?;
    Ok(())
}

fn read_check(db: &Connection) -> Result<(String, Vec<u8>), OpenError> {
    db.query_one("SELECT database_id, seal_key_check FROM instance", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| OpenError::Database(StoreError::Unreadable("instance is empty".to_owned())))
}

fn check_key(
    key: &SealKey,
    sealed: &[u8],
    database: &str,
    path: &Path,
    key_file: &Path,
) -> Result<(), OpenError> {
    match key.unseal(sealed, &check_place(database)) {
        Ok(text) if text.as_slice() == CHECK_TEXT => Ok(()),
        _ => Err(OpenError::SealKey { key: key_file.into(), database: path.into() }),
    }
}

fn check_place(database: &str) -> String {
    format!("instance {database}")
}
