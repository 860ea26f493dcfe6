//! The login for the source registry, read anew for every push, so that a rotated file takes effect.

use std::path::PathBuf;

use distribution::{DockerConfig, DockerConfigError};
use domain::credentials::Credentials;
use domain::registry::Address;
use runtime::program::UsageError;

/// Knows what logs in to the source registry.
#[derive(Clone, Debug)]
pub(crate) struct SourceLogin {
    registry: Address,
    file: Option<PathBuf>,
}

impl SourceLogin {
    /// Reads the file once, so that a mistake in it is told at the start.
    pub(crate) fn new(registry: Address, file: Option<PathBuf>) -> Result<Self, UsageError> {
        let login = Self { registry, file };
        login.read().map_err(|error| UsageError::new(format!("--registry-auth-file: {error}")))?;
        if let Some(file) = login.file.as_ref().filter(|file| !file.exists()) {
            tracing::warn!(file = %file.display(), "--registry-auth-file is not there: pulling without a login");
        }
        Ok(login)
    }

    /// What logs in to the registry that an image was resolved in. The file may hold logins for other
    /// hosts too; they are none of our business.
    pub(crate) fn for_source(&self, source: &Address) -> Result<Option<Credentials>, DockerConfigError> {
        if !source.same_host(&self.registry) {
            return Ok(None);
        }
        Ok(self.read()?.and_then(|config| config.credentials_for(source)))
    }

    fn read(&self) -> Result<Option<DockerConfig>, DockerConfigError> {
        self.file.as_deref().map(DockerConfig::read).transpose()
    }
}
