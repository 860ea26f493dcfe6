//! Connections: how each is set up, a few readers and the threads they block, and the writer's door.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction};
use tokio::sync::Semaphore;

use super::writer::Writer;
use crate::StoreError;

/// How long a statement waits for another process's write lock.
const BUSY: Duration = Duration::from_secs(10);
/// A write that takes longer is told: somebody holds the lock, or the disk hangs.
const SLOW: Duration = Duration::from_secs(3);
const READERS: usize = 4;
const STATEMENTS: usize = 128;
/// A container without a writable root has no place for SQLite's temporary files.
const NO_FILES: &str = "PRAGMA temp_store = MEMORY";

/// One writer connection and a pool of readers.
pub(crate) struct Database {
    readers: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
    file: File,
    // Dropped last, so that it folds the write-ahead log in.
    writer: Writer,
}

impl Database {
    /// Opens the connections of an existing, migrated database.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::of(path)?;
        let readers = (0..READERS).map(|_| read_only(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            readers: Arc::new(Mutex::new(readers)),
            places: Arc::new(Semaphore::new(READERS)),
            file,
            writer: Writer::start(writable(path)?)?,
        })
    }

    /// Runs a read transaction on a free reader.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let readers = Arc::clone(&self.readers);
        blocking(move || {
            let reader = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut reader) = reader else { return Err(StoreError::Stopped.into()) };
            let result = match reader.transaction() {
                Ok(transaction) => work(&transaction),
                Err(error) => Err(StoreError::from(error).into()),
            };
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            drop(place);
            result
        })
        .await
    }

    /// Runs `work` in an immediate transaction, which it may share with others; the answer comes after its
    /// commit.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.file.in_place()?;
        self.writer.write(work).await
    }

    /// Whether writes are taken, as far as the last ones tell; `false` when it has to be tried.
    pub(crate) fn takes_writes(&self) -> Result<bool, StoreError> {
        self.file.in_place()?;
        match self.writer.busy_for() {
            waited if waited >= SLOW => Err(StoreError::Slow(waited.as_secs())),
            _ => Ok(!self.writer.failed()),
        }
    }
}

/// The file that was opened. Open connections go on with one that was removed, and nobody would find what
/// they write.
struct File {
    path: PathBuf,
    identity: (u64, u64),
}

impl File {
    fn of(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.into(), identity: identity(path).ok_or_else(|| StoreError::Gone(path.into()))? })
    }

    fn in_place(&self) -> Result<(), StoreError> {
        match identity(&self.path) {
            Some(identity) if identity == self.identity => Ok(()),
            _ => Err(StoreError::Gone(self.path.clone())),
        }
    }
}

/// The device and the file's number on it.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

async fn blocking<T, E, F>(work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Stopped.into()))
}

/// A connection that writes. The file must exist; `open` makes it.
pub(super) fn writable(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    // FULL keeps an answered request through a power cut; secure_delete overwrites wiped credentials.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;")?;
    db.execute_batch(NO_FILES)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// A connection that only reads.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    db.execute_batch(NO_FILES)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}
