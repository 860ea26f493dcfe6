//! Pushes on the wire: the credentials object that asks for one, and the status of one.

use domain::push::{PushStatus, Reason};
use serde::{Deserialize, Serialize};
use store::PushRecord;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use uuid::Uuid;

use super::registry::{RegistryPassword, RegistryUsername};
use super::{moment, words};
use crate::body::{Line, object};

type RegistryIdText = Line<64>;

/// Where to push, and optionally with which login; `{}` asks for nothing.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = RegistryPushCredentials)]
pub(crate) struct PushCredentials {
    /// The registry, which is required.
    #[schema(inline, format = Uuid)]
    pub(crate) registry_id: Option<RegistryIdText>,
    /// A login with PUSH permissions, for this one push. Without it the registry's own is used.
    #[schema(inline)]
    pub(crate) registry_username: Option<RegistryUsername>,
    /// The password of that login.
    #[schema(inline)]
    pub(crate) registry_password: Option<RegistryPassword>,
}

/// A push to be repeated: the credentials object bare or wrapped, or nothing.
#[derive(Deserialize, ToSchema)]
#[schema(as = PushAgain)]
pub(crate) struct PushAgainBody {
    #[serde(default, deserialize_with = "object")]
    pub(crate) registry_push_credentials: Option<PushCredentials>,
    /// As in `registry_push_credentials`.
    #[schema(inline, format = Uuid)]
    pub(crate) registry_id: Option<RegistryIdText>,
    /// As in `registry_push_credentials`.
    #[schema(inline)]
    pub(crate) registry_username: Option<RegistryUsername>,
    /// As in `registry_push_credentials`.
    #[schema(inline)]
    pub(crate) registry_password: Option<RegistryPassword>,
}

impl PushAgainBody {
    /// The credentials object, wherever it was.
    pub(crate) fn credentials(self) -> Option<PushCredentials> {
        let Self { registry_push_credentials, registry_id, registry_username, registry_password } = self;
        registry_push_credentials.or(Some(PushCredentials {
            registry_id,
            registry_username,
            registry_password,
        }))
    }
}

/// How far the push of a version to a registry is.
#[derive(Serialize, ToSchema)]
#[schema(as = PushStatus)]
pub(crate) struct PushStatusView {
    registry_id: Uuid,
    /// How far it is.
    #[schema(schema_with = statuses)]
    status: &'static str,
    /// Why it waits or failed, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The same as a code, for scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = reasons)]
    reason: Option<&'static str>,
    /// `unverified` when only the push's own login, which is gone by now, could read the image back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pullable: Option<&'static str>,
    /// Tries since it was last asked for.
    attempts: u32,
    /// Bytes dealt with by the running or last try.
    bytes_done: u64,
    /// Bytes of the whole image; 0 until they are known.
    bytes_total: u64,
    /// The image's digest, in the source and in the registry.
    digest: String,
    /// The full reference in the registry.
    #[schema(example = "algorithmiainfra.jfrog.io/dockerhub/algorithms/ann/echo:VERSION_HASH")]
    image: String,
}

fn statuses() -> Object {
    words(PushStatus::ALL.iter().map(|status| status.as_str()))
}

fn reasons() -> Object {
    words(Reason::ALL.iter().map(|reason| reason.as_str()))
}

impl From<PushRecord> for PushStatusView {
    fn from(push: PushRecord) -> Self {
        Self {
            registry_id: push.registry.0,
            status: push.status.as_str(),
            status_message: push.message,
            updated_at: moment(push.updated_at),
            reason: push.reason.map(|reason| reason.as_str()),
            pullable: push.pullable.map(|pullable| pullable.as_str()),
            attempts: push.attempts,
            bytes_done: push.bytes_done,
            bytes_total: push.bytes_total,
            digest: push.digest.to_string(),
            image: push.image,
        }
    }
}
