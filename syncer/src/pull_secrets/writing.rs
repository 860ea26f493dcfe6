//! Writes and deletes the pull Secret of one namespace, by server-side apply, which makes it by its name
//! too: so the right to make Secrets can be narrowed to that name, unlike with a POST.

use std::sync::Arc;

use cluster::ClusterError;
use domain::labels::{MANAGED_BY, PULL_SECRET};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::decision::{CONFIG, Found, State, TYPE};
use super::logins::Logins;

const FIELD_MANAGER: &str = "drayage-syncer";
const WHAT: &str = "Secret drayage-registries";

/// Writes these logins, over the Secret of this uid if there is one, and gives what is there then.
pub(super) async fn write(
    client: Client,
    namespace: &str,
    logins: Arc<Logins>,
    uid: Option<String>,
) -> Result<Found, ClusterError> {
    let (label, value) = MANAGED_BY;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": PULL_SECRET, "uid": uid, "labels": {label: value}},
        "type": TYPE,
        "data": {CONFIG: ByteString(logins.to_json().to_vec())},
    });
    // What others did to ours is put right. One that somebody makes at this moment must come out as a
    // conflict instead.
    let params = PatchParams { force: uid.is_some(), ..PatchParams::apply(FIELD_MANAGER) };
    let secrets = Api::<Secret>::namespaced(client, namespace);
    let written = secrets.patch_metadata(PULL_SECRET, &params, &Patch::Apply(secret)).await;
    let uid = written.map_err(ClusterError::of(WHAT))?.metadata.uid.unwrap_or_default();
    Ok(Found { uid, state: State::Whole(logins) })
}

/// Deletes the Secret of this uid, unless it has gone already.
pub(super) async fn delete(client: Client, namespace: &str, uid: String) -> Result<(), ClusterError> {
    let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    let secrets = Api::<Secret>::namespaced(client, namespace);
    match secrets.delete(PULL_SECRET, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ClusterError::of(WHAT)(error)),
    }
}
