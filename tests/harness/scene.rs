//! What most claims begin with: the platform's registry holding a built image, the enterprise's
//! registry known to Drayage by a login that reads, and an algorithm that was never compiled.

use anyhow::Result;
use serde_json::{Value, json};

use crate::image::{Family, Image};
use crate::registry::{Login, Registry};
use crate::services::{Algorithm, Builder, Drayage};

/// The path inside the enterprise's registry below which images are put.
pub const PATH: &str = "inspected";
/// The commit of the first build, and so its tag in the source registry and its version hash.
pub const COMMIT: &str = "5fe3a2c6a1d2b8e94d0c7f61b3a9e8d7c6b5a493";

/// A scene that runs.
#[derive(Debug)]
pub struct Scene {
    /// The platform's registry.
    pub source: Registry,
    /// The enterprise's registry, which admits `reader` and `pusher` only.
    pub enterprise: Registry,
    /// The login that Drayage stores with the registry.
    pub reader: Login,
    /// A login that is given with a push.
    pub pusher: Login,
    /// The programs.
    pub drayage: Drayage,
    /// The enterprise's registry as Drayage calls it.
    pub registry: String,
    /// An algorithm.
    pub algorithm: Algorithm,
    /// Its image of two platforms, in the source registry under `COMMIT`.
    pub image: Image,
}

impl Scene {
    /// Starts it all.
    pub async fn start() -> Result<Self> {
        Self::start_with(|drayage| drayage).await
    }

    /// Starts it all, Drayage with more than the usual flags.
    pub async fn start_with(flags: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let (reader, pusher) = (Login::new("reader")?, Login::new("pusher")?);
        let logins = vec![reader.clone(), pusher.clone()];
        let (source, enterprise) = tokio::try_join!(Registry::open(), Registry::with_logins(logins))?;
        let drayage = flags(Drayage::over(&source)).start().await?;
        let registry = drayage.register(&format!("{}/{PATH}", enterprise.url()), Some(&reader)).await?;
        let algorithm = drayage.algorithm("ada", "primes").await?;
        let image = Image::two_platforms(Family::Oci)?;
        source.push(&image, &algorithm.repository(), COMMIT).await?;
        Ok(Self { source, enterprise, reader, pusher, drayage, registry, algorithm, image })
    }

    /// The body of a compile of `COMMIT` that asks for a push with the stored login.
    pub fn stored_push(&self) -> Value {
        json!({"commitSha": COMMIT, "registry_push_credentials": {"registry_id": self.registry}})
    }

    /// The body of a compile of `COMMIT` that asks for a push with a login of its own.
    pub fn own_push(&self) -> Value {
        json!({"commitSha": COMMIT, "registry_push_credentials": self.own_credentials()})
    }

    /// The enterprise's registry with the pushing login.
    pub fn own_credentials(&self) -> Value {
        json!({
            "registry_id": self.registry,
            "registry_username": self.pusher.username,
            "registry_password": self.pusher.password,
        })
    }

    /// Where the algorithm's images lie in the enterprise's registry.
    pub fn repository(&self) -> String {
        format!("{PATH}/{}", self.algorithm.repository())
    }

    /// A pod of one container that names an image of the source registry.
    pub fn pod(&self, namespace: &str, tag_or_digest: &str) -> Value {
        let image = format!("{}/{}{tag_or_digest}", self.source.host(), self.algorithm.repository());
        let container = json!({"name": "runner", "image": image, "imagePullPolicy": "IfNotPresent"});
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "runner", "namespace": namespace},
            "spec": {"containers": [container]},
        })
    }

    /// The image under which the enterprise's registry serves a tag (`:…`) or digest (`@…`).
    pub fn routed(&self, tag_or_digest: &str) -> String {
        format!("{}/{}{tag_or_digest}", self.enterprise.host(), self.repository())
    }
}
