//! The `--database` URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which database: `sqlite:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl(PathBuf);

/// The text names no database that this version can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a database is `sqlite:PATH`, e.g. `sqlite:/var/lib/drayage/drayage.db`")]
pub struct DatabaseUrlError;

impl DatabaseUrl {
    /// Whether its file is there.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        match text.strip_prefix("sqlite:") {
            // SQLite would read `:memory:` and URIs as something else than a file that processes share.
            Some(path) if !path.is_empty() && !path.starts_with([':', '?']) && !path.contains('\0') => {
                let path = match path.strip_prefix("//") {
                    Some(rest) if rest.starts_with('/') => rest,
                    _ => path,
                };
                Ok(Self(path.into()))
            }
            _ => Err(DatabaseUrlError),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.0.display())
    }
}
