//! Makes an object that must be made once, by whoever comes first, with a right that is narrowed to its name. The
//! webhook and the syncer make their Secrets so; what is in them is theirs.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::ClusterError;

/// Makes an object of this name for a program, by server-side apply: unlike a POST, that can be granted for one
/// name.
///
/// # Errors
/// A conflict when somebody else has made it with other values; the API server's refusal or silence.
pub async fn make<K>(api: &Api<K>, name: &'static str, program: &str, object: &K) -> Result<K, ClusterError>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    // A field manager may overwrite its own values, and nobody else's: so it has a name of its own each time.
    let manager = format!("{program}-{}", Uuid::new_v4());
    let made = api.patch(name, &PatchParams::apply(&manager), &Patch::Apply(object)).await;
    made.map_err(ClusterError::of(name))
}
