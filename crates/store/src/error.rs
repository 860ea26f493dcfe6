//! What goes wrong at the two doors.

use std::path::PathBuf;
use std::sync::Arc;

use crate::seal::SealError;
use crate::secret_file::SecretFileError;

/// What SQLite said, for the error chain only. Several writes may have failed of one cause.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A statement could not be carried out. Nothing of its transaction is left behind.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process held the write lock for longer than we wait.
    #[error("the database is locked by another process")]
    Locked(#[source] Cause),
    /// A write has been under way for longer than it should.
    #[error(
        "the database has not taken a write for {0} seconds: another process holds its lock, or its disk hangs"
    )]
    Slow(u64),
    /// No room on the disk of the database.
    #[error("the disk of the database is full")]
    Full(#[source] Cause),
    /// What was opened is no longer what lies at the path; a write would be lost.
    #[error("the database file {0} was removed or replaced: put it back, or restart to open what lies there")]
    Gone(PathBuf),
    /// Anything else of SQLite's.
    #[error("the database failed")]
    Database(#[source] Cause),
    /// A row holds what this version cannot read.
    #[error("the database holds a value that this version cannot read: {0}")]
    Unreadable(String),
    /// A login could not be sealed or unsealed.
    #[error("stored credentials cannot be used")]
    Seal(#[from] SealError),
    /// The process is ending, or a statement panicked.
    #[error("the database's worker has stopped")]
    Stopped,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(Arc::new(error)),
            Some(ErrorCode::DiskFull) => Self::Full(Arc::new(error)),
            _ => match error {
                rusqlite::Error::FromSqlConversionFailure(column, _, cause) => {
                    Self::Unreadable(format!("column {column}: {cause}"))
                }
                error => Self::Database(Arc::new(error)),
            },
        }
    }
}

/// The database could not be opened; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The schema is from a later version of Drayage.
    #[error(
        "the database {path} has schema {found}, this version knows up to {known}: start the version that wrote it, or restore the backup taken before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema of this version.
        known: u32,
    },
    /// The file is an SQLite database of something else.
    #[error("{0} is a database, but not one of Drayage: give another path to --database")]
    Foreign(PathBuf),
    /// The key in the seal key file is not the one that sealed this database.
    #[error(
        "the key in {key} does not fit the database {database}: give --seal-key-file the key that was used when the database was made"
    )]
    SealKey {
        /// The key's file.
        key: PathBuf,
        /// The database's file.
        database: PathBuf,
    },
    /// The seal key file is gone although the database holds what it sealed.
    #[error(
        "the seal key file {key} is missing, and the database {database} was sealed with it: restore the file (a new key could read nothing)"
    )]
    SealKeyLost {
        /// The key's file.
        key: PathBuf,
        /// The database's file.
        database: PathBuf,
    },
    /// The seal key file cannot be read or made.
    #[error("the seal key cannot be had")]
    SecretFile(#[from] SecretFileError),
    /// The file cannot be made or opened.
    #[error("the database file {path} cannot be opened")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is none of SQLite's, or damaged, or may not be opened.
    #[error(
        "{path} cannot be used as a database; look at its rights and whether it is one, or restore a backup"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// SQLite refused.
    #[error("the database cannot be opened")]
    Database(#[from] StoreError),
}

impl OpenError {
    /// Whether the administrator has to change something, rather than SQLite or the disk failing.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}

/// Whether the file itself is at fault.
pub(crate) fn is_unusable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
        )
    )
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}
