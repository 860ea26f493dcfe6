//! The one field of the webhook configuration that the process owns: `caBundle`, by server-side apply.
//! `certificates` calls it; the object itself is kustomize's, and is neither made nor deleted here.

use cluster::{Cluster, ClusterError};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// The webhook configuration.
pub(crate) const CONFIGURATION: &str = "drayage";
const WEBHOOK: &str = "pods.drayage.dev";
const FIELD_MANAGER: &str = "drayage-webhook";
const WHAT: &str = "MutatingWebhookConfiguration drayage";

/// The webhook configuration of a cluster.
#[derive(Clone)]
pub(crate) struct Registration(Api<MutatingWebhookConfiguration>);

/// What it says at the moment.
#[derive(Debug)]
pub(crate) struct Registered {
    uid: String,
    /// In PEM; empty when there is none.
    pub(crate) bundle: Vec<u8>,
}

impl Registration {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self(Api::all(cluster.client.clone()))
    }

    pub(crate) fn api(&self) -> Api<MutatingWebhookConfiguration> {
        self.0.clone()
    }

    /// Reads it; `None` while nobody has applied it, or it has no webhook of our name.
    pub(crate) async fn read(&self) -> Result<Option<Registered>, ClusterError> {
        let found = self.0.get_opt(CONFIGURATION).await.map_err(ClusterError::of(WHAT))?;
        let Some(found) = found else { return Ok(None) };
        let webhook = found.webhooks.unwrap_or_default().into_iter().find(|webhook| webhook.name == WEBHOOK);
        Ok(webhook.map(|webhook| Registered {
            uid: found.metadata.uid.unwrap_or_default(),
            bundle: webhook.client_config.ca_bundle.unwrap_or_default().0,
        }))
    }

    /// Has the API servers trust these authorities and no others.
    pub(crate) async fn trust(&self, registered: &Registered, bundle: &[u8]) -> Result<(), ClusterError> {
        // Without the uid, an apply would make an object that was deleted in the meantime.
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION, "uid": registered.uid},
            "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": ByteString(bundle.to_vec())}}],
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.0.patch(CONFIGURATION, &params, &Patch::Apply(patch)).await.map_err(ClusterError::of(WHAT))?;
        Ok(())
    }
}
