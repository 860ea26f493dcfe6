//! The schema's history: embedded files, applied in order in one transaction, never changed once released.

use rusqlite::{Connection, Transaction, TransactionBehavior};

const MIGRATIONS: [&str; 5] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
];

/// The schema that this version knows.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;
/// Marks the file as Drayage's ("dryg"), for `file(1)` and against a wrong path.
pub(super) const APPLICATION: i32 = 0x6472_7967;

/// The schema of a database; 0 of a new file.
pub(super) fn found(db: &Connection) -> rusqlite::Result<u32> {
    db.query_one("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether the file is Drayage's, or new.
pub(super) fn is_ours(db: &Connection) -> rusqlite::Result<bool> {
    // In one look, or a file that another process makes between two would be nobody's.
    let look = db.unchecked_transaction()?;
    let application: i32 = look.query_one("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = look.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(application == APPLICATION || (application == 0 && tables == 0))
}

/// Brings the schema up to date; `fill` runs in the same transaction when the database is new. Another
/// process that migrates at this moment is waited for.
pub(super) fn migrate<E: From<rusqlite::Error>>(
    db: &mut Connection,
    fill: impl FnOnce(&Transaction<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = found(&tx)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        tx.execute_batch(migration)?;
    }
    if found == 0 {
        fill(&tx)?;
    }
    if found < KNOWN {
        tx.pragma_update(None, "user_version", KNOWN)?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
    }
    tx.commit()?;
    Ok(())
}
