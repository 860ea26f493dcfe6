//! API keys on the wire. The key itself is in the answer that makes it and nowhere else.

use domain::access::Role;
use serde::{Deserialize, Serialize};
use store::Key;
use utoipa::ToSchema;

use super::moment;
use crate::body::Line;

type KeyLabel = Line<128>;

/// A key to be made.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = KeyRequest)]
pub(crate) struct KeyBody {
    /// What its holder calls it.
    #[schema(inline)]
    pub(crate) key_label: Option<KeyLabel>,
    /// What it may do.
    pub(crate) key_type: Option<KeyType>,
}

/// What a key may do.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
pub(crate) enum KeyType {
    /// Manages its owner's algorithms.
    #[default]
    #[serde(rename = "ManagementKey")]
    Management,
    /// Manages registries and keys; reads and re-pushes everything.
    #[serde(rename = "PlatformAdminKey")]
    PlatformAdmin,
    /// Reads `GET /v1/routes` and nothing else.
    #[serde(rename = "RouteReaderKey")]
    RouteReader,
}

impl From<KeyType> for Role {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Management => Self::Standard,
            KeyType::PlatformAdmin => Self::Admin,
            KeyType::RouteReader => Self::RouteReader,
        }
    }
}

impl From<Role> for KeyType {
    fn from(role: Role) -> Self {
        match role {
            Role::Standard => Self::Management,
            Role::Admin => Self::PlatformAdmin,
            Role::RouteReader => Self::RouteReader,
        }
    }
}

/// A key in force.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView {
    username: String,
    key_label: String,
    key_type: KeyType,
    #[schema(format = DateTime)]
    created_at: String,
    /// Names the key for revocation.
    api_key_mask: String,
    /// The key itself, in the answer that makes it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
}

impl KeyView {
    /// A key that was just made, to be shown once.
    pub(crate) fn made(key: Key, secret: String) -> Self {
        Self { api_key: Some(secret), ..key.into() }
    }
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            username: key.username.to_string(),
            // The documented platform's clients insist on a text.
            key_label: key.label.unwrap_or_default(),
            key_type: key.role.into(),
            created_at: moment(key.created_at),
            api_key_mask: key.mask,
            api_key: None,
        }
    }
}
