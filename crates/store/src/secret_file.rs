//! Files that hold one secret: read with a limit, made with mode 0600 and never over an existing one.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

const LIMIT: u64 = 4096;

/// A secret's file cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is none.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// It holds something else.
    #[error("{path} does not hold {expected}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Reading failed.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Making it failed.
    #[error(
        "{path} does not exist and cannot be made: make it yourself, or give a path in a folder that can be written"
    )]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes are to be had")]
    Random,
}

/// The file's text without white space around it.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            return Err(SecretFileError::Missing(path.into()));
        }
        Err(cause) => return Err(SecretFileError::Read { path: path.into(), cause }),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(LIMIT)
        .read_to_string(&mut text)
        .map_err(|cause| SecretFileError::Read { path: path.into(), cause })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Makes the file. When another process is faster, its file stays and ours is dropped, so that whoever
/// reads afterwards reads the same. Whether ours is the one.
///
/// # Errors
/// [`SecretFileError::Make`].
pub fn make(path: &Path, secret: &str) -> Result<bool, SecretFileError> {
    let failed = |cause| SecretFileError::Make { path: path.into(), cause };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", getrandom::u64().map_err(|_| SecretFileError::Random)?));
    let draft = PathBuf::from(draft);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(secret.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
    // A link fails where a rename would replace.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(failed(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_never_made_over_an_existing_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        assert!(matches!(read(&path), Err(SecretFileError::Missing(_))));
        assert!(make(&path, "first").expect("made"));
        assert!(!make(&path, "second").expect("kept"));
        assert_eq!(read(&path).expect("read").as_str(), "first");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
