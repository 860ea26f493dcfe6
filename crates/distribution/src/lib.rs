//! Speaks the OCI distribution protocol to one registry with one login, and reads Docker's
//! config.json. Called by `copy` for whole images and by `api` and `syncer` for single manifests.
//! It knows no queue, no database and no cluster, and it decides nothing about a push.

mod blob;
mod client;
mod docker_config;
mod error;
mod manifest;
mod quirks;
mod token;
mod transport;
mod upload;

pub use blob::{Presence, SourceBody};
pub use client::Registry;
pub use docker_config::{DockerConfig, DockerConfigError};
pub use error::{Action, Answer, Cause, Error, Hint, Side};
pub use manifest::{Blob, Content, Descriptor, MANIFEST_LIMIT, Manifest, ManifestError, ManifestRef};
pub use transport::{Transport, TransportError};
pub use upload::{Mounted, Upload, UploadError};
