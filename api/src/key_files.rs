//! The keys of `--admin-key-file` and `--routes-key-file`, which `run` puts into force at every start, so
//! that a Secret that was made or rotated in a cluster counts without a call.

use std::path::Path;

use domain::access::Role;
use runtime::program::UsageError;
use store::Store;
use store::secret_file::{self, SecretFileError};

use crate::authentication::{ApiKey, KEY_LIMIT};

/// A key that people chose themselves is at least this long, in characters.
const SHORTEST_KEY: usize = 8;

/// Puts the keys of the files into force, revokes the files' former ones, and makes files that are missing.
///
/// # Errors
/// A [`UsageError`] about a file, or the database's.
pub(crate) async fn enforce(
    store: &Store,
    admin: Option<&Path>,
    routes: Option<&Path>,
) -> anyhow::Result<()> {
    let admin = admin.map(|path| key("--admin-key-file", path)).transpose()?;
    let routes = routes.map(|path| key("--routes-key-file", path)).transpose()?;
    if let (Some(admin), Some(routes)) = (&admin, &routes)
        && admin.hash() == routes.hash()
    {
        let message = "--admin-key-file and --routes-key-file hold one key: give each its own";
        return Err(UsageError::new(message.to_owned()).into());
    }
    for (role, key) in [(Role::Admin, admin), (Role::RouteReader, routes)] {
        if let Some(key) = key {
            // Such a key is nobody's, so it is not listed; it may be too short for a mask of its own.
            store.enforce_file_key(role, key.hash(), format!("{} file", role.as_str())).await?;
        }
    }
    Ok(())
}

fn key(flag: &str, path: &Path) -> anyhow::Result<ApiKey> {
    let refused =
        |error: SecretFileError| UsageError::new(format!("{flag}: {:#}", anyhow::Error::from(error)));
    let text = match secret_file::read(path) {
        Err(SecretFileError::Missing(_)) => {
            let made = secret_file::make(path, ApiKey::random()?.reveal()).map_err(refused)?;
            if made {
                tracing::info!(path = %path.display(), "made the file of {flag}");
            }
            secret_file::read(path).map_err(refused)?
        }
        read => read.map_err(refused)?,
    };
    Ok(ApiKey::parse(&text).filter(|key| key.reveal().len() >= SHORTEST_KEY).ok_or_else(|| {
        UsageError::new(format!(
            "{flag}: {} does not hold a key: one word of {SHORTEST_KEY} to {KEY_LIMIT} printable ASCII characters",
            path.display()
        ))
    })?)
}
