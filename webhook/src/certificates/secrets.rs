//! The two Secrets in which replicas agree: the authorities, which the webhook alone reads, and the leaf,
//! which the api mounts too. Written only over what was read; the loser of a race reads again.

use std::collections::BTreeMap;

use cluster::{Cluster, ClusterError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use super::material::{Authorities, Flaw, Leaf};

/// Where both hold the trusted authorities; that of the leaf for whoever calls the api.
pub(super) const AUTHORITIES: &str = "ca.crt";
pub(super) const AUTHORITY: Place =
    Place { name: "drayage-authority", kind: "Opaque", certificate: AUTHORITIES, key: "ca.key" };
pub(super) const LEAF: Place =
    Place { name: "drayage-tls", kind: "kubernetes.io/tls", certificate: "tls.crt", key: "tls.key" };

const PROGRAM: &str = "drayage-webhook";

/// Where a certificate and its key are.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) name: &'static str,
    kind: &'static str,
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
}

/// A Secret as it was read, if it was there.
pub(super) struct Found {
    place: Place,
    secret: Option<Secret>,
}

impl Place {
    pub(super) fn api(cluster: &Cluster) -> Api<Secret> {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    }

    pub(super) async fn read(self, api: &Api<Secret>) -> Result<Found, ClusterError> {
        let secret = api.get_opt(self.name).await.map_err(ClusterError::of(self.name))?;
        Ok(Found { place: self, secret })
    }
}

impl Found {
    fn bytes(&self, key: &str) -> Result<&[u8], Flaw> {
        let data = self.secret.as_ref().and_then(|secret| secret.data.as_ref());
        data.and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice()).ok_or(Flaw::Missing)
    }

    /// The certificates that it holds, whatever else is wrong with it.
    pub(super) fn certificates(&self) -> &[u8] {
        self.bytes(self.place.certificate).unwrap_or_default()
    }

    pub(super) fn authorities(&self) -> Result<Authorities, Flaw> {
        Authorities::read(self.bytes(self.place.certificate)?, self.bytes(self.place.key)?)
    }

    pub(super) fn leaf(&self) -> Result<Leaf, Flaw> {
        Leaf::read(self.bytes(self.place.certificate)?, self.bytes(self.place.key)?)
    }

    /// Puts these in their place; a conflict when somebody else has written since it was read.
    pub(super) async fn write<const N: usize>(
        &self,
        api: &Api<Secret>,
        written: [(&str, &[u8]); N],
    ) -> Result<(), ClusterError> {
        let Place { name, kind, .. } = self.place;
        let written = written.map(|(key, bytes)| (key.to_owned(), ByteString(bytes.to_vec())));
        match &self.secret {
            Some(secret) => {
                let mut secret = secret.clone();
                secret.data.get_or_insert_default().extend(written);
                let params = PostParams { field_manager: Some(PROGRAM.to_owned()), ..PostParams::default() };
                api.replace(name, &params, &secret).await.map_err(ClusterError::of(name))?;
            }
            None => {
                let labels = [("app.kubernetes.io/managed-by", "drayage")];
                let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some(BTreeMap::from(labels)),
                    ..ObjectMeta::default()
                };
                let kind = Some(kind.to_owned());
                let secret = Secret {
                    metadata,
                    type_: kind,
                    data: Some(BTreeMap::from(written)),
                    ..Secret::default()
                };
                cluster::make(api, name, PROGRAM, &secret).await?;
            }
        }
        Ok(())
    }
}
