//! Registries on the wire. A login goes in and never comes out.

use serde::{Deserialize, Serialize};
use store::{DependentVersion, Dependents, PodName, Registry, Replaced};
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
    /// Versions that are pulled from it: no registry that exists has a later success of their image.
    versions: u64,
    /// The first 20 of them. Push these elsewhere, and the next 20 are named.
    first_versions: Vec<DependentVersionView>,
    /// Pushes to it that wait.
    pushes_pending: u64,
    /// Pushes to it that run.
    pushes_running: u64,
    /// Running pods that name it; `null` when no drayage-syncer with `--kubernetes` has ever looked.
    pods: Option<u64>,
    /// The first 20 of them, as NAMESPACE/NAME.
    first_pods: Vec<String>,
    /// When an auditor last saw the cluster.
    #[schema(format = DateTime)]
    pods_as_of: Option<String>,
}

/// A version that is pulled from a registry.
#[derive(Serialize, ToSchema)]
#[schema(as = DependentVersion)]
struct DependentVersionView {
    #[schema(example = "ann/echo")]
    algorithm: String,
    version_hash: String,
}

impl From<&Dependents> for DependentsView {
    fn from(dependents: &Dependents) -> Self {
        let Dependents { versions, first_versions, pushes_pending, pushes_running, pods } = dependents;
        let version = |version: &DependentVersion| DependentVersionView {
            algorithm: format!("{}/{}", version.owner, version.algorithm),
            version_hash: version.hash.to_string(),
        };
        let pod = |pod: &PodName| format!("{}/{}", pod.namespace, pod.name);
        Self {
            versions: *versions,
            first_versions: first_versions.iter().map(version).collect(),
            pushes_pending: *pushes_pending,
            pushes_running: *pushes_running,
            pods: pods.seen_at.map(|_| pods.found.count),
            first_pods: pods.found.first.iter().map(pod).collect(),
            pods_as_of: pods.seen_at.map(moment),
        }
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
        let view = (&dependents).into();
        let message = if dependents.is_empty() {
            "the registry is deleted; nothing depended on it".to_owned()
        } else {
            format!(
                "the registry is deleted; what depended on it: {}. Pods that are created from now on pull those versions from the registry of their next latest push, or from the source. Pushes to it that had not ended are failed (registry_changed)",
                Dependency(Box::new(dependents))
            )
        };
        Self { id, message, dependents: view }
    }
}
