//! Registries on the wire. A login goes in and never comes out.

use serde::{Deserialize, Serialize};
use store::{Dependents, Registry, Replaced};
use utoipa::ToSchema;
use uuid::Uuid;

use super::moment;
use crate::body::{Line, Prose};
use crate::error::Dependency;

type RegistryName = Line<32>;
/// Longer is no address; `domain` says so.
type RegistryUrl = Prose<{ domain::registry::URL_LIMIT }>;
pub(crate) type RegistryUsername = Line<64>;
/// Tokens of clouds and JSON keys serve as passwords, so they are long and have line breaks.
pub(crate) type RegistryPassword = Prose<4096>;

/// A registry to be registered, or what one is replaced with.
#[derive(Deserialize, ToSchema)]
#[schema(as = RegistryRequest)]
pub(crate) struct RegistryBody {
    /// `[http://]host[:port][/path]`, 1 to 128 characters; plain HTTP only where `http://` says so.
    #[schema(value_type = String, max_length = 128, example = "algorithmiainfra.jfrog.io/dockerhub")]
    pub(crate) registry_url: RegistryUrl,
    /// What people call it.
    #[schema(inline)]
    pub(crate) name: Option<RegistryName>,
    /// A login with READ permissions. Without one, images are read back anonymously. When a registry
    /// is replaced, an omitted login is kept as long as scheme, host and port stay, and `""` clears it.
    #[schema(inline)]
    pub(crate) registry_username: Option<RegistryUsername>,
    /// The password of that login; neither goes without the other.
    #[schema(inline)]
    pub(crate) registry_password: Option<RegistryPassword>,
}

/// Whether a registry takes new pushes.
#[derive(Deserialize, ToSchema)]
#[schema(as = RegistryPatch)]
pub(crate) struct CordonBody {
    /// `true` keeps new pushes away, `false` lets them in again.
    pub(crate) cordoned: bool,
}

/// A registry, without its login.
#[derive(Serialize, ToSchema)]
#[schema(as = Registry)]
pub(crate) struct RegistryView {
    id: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    name: Option<String>,
    registry_url: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Whether a READ login is stored.
    has_credentials: bool,
    /// Whether new pushes are kept away.
    cordoned: bool,
    /// After a replacement: versions that are still pulled from the earlier address, until each one's
    /// next successful push.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions_at_old_address: Option<u64>,
}

impl From<Registry> for RegistryView {
    fn from(registry: Registry) -> Self {
        Self {
            id: registry.id.0,
            created_at: moment(registry.created_at),
            name: registry.name,
            registry_url: registry.address.to_string(),
            updated_at: moment(registry.updated_at),
            has_credentials: registry.has_login,
            cordoned: registry.cordoned_at.is_some(),
            versions_at_old_address: None,
        }
    }
}

impl From<Replaced> for RegistryView {
    fn from(replaced: Replaced) -> Self {
        Self { versions_at_old_address: Some(replaced.versions_at_old_address), ..replaced.registry.into() }
    }
}

/// What depends on a registry.
#[derive(Serialize, ToSchema)]
#[schema(as = Dependents)]
pub(crate) struct DependentsView {
    /// Versions that it holds by a successful push.
    versions: u64,
    /// Pushes to it that wait.
    pushes_pending: u64,
    /// Pushes to it that run.
    pushes_running: u64,
}

impl From<Dependents> for DependentsView {
    fn from(dependents: Dependents) -> Self {
        let Dependents { versions, pushes_pending, pushes_running } = dependents;
        Self { versions, pushes_pending, pushes_running }
    }
}

/// A registry that was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = RegistryDeleted)]
pub(crate) struct DeletedView {
    id: Uuid,
    /// What that means, in words.
    message: String,
    dependents: DependentsView,
}

impl DeletedView {
    /// What depended on the registry when it was deleted.
    pub(crate) fn new(id: Uuid, dependents: Dependents) -> Self {
        let message = if dependents.is_empty() {
            "the registry is deleted; nothing depended on it".to_owned()
        } else {
            format!(
                "the registry is deleted; what depended on it: {}. Pods that are created from now on pull those versions from the registry of their next latest push, or from the source. Pushes to it that had not ended are failed (registry_changed)",
                Dependency(dependents)
            )
        };
        Self { id, message, dependents: dependents.into() }
    }
}
