//! What claims about running pods begin with: a node, and a scene of whose images one runs there, pulled
//! from the enterprise's registry while the platform's is gone. The syncer sees the cluster, so the login
//! that reads is where pods need it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Node;
use crate::claim::eventually;
use crate::image::Image;
use crate::scene::Scene;

/// A node, and a scene whose pushed images run.
#[derive(Debug)]
pub struct Stage {
    /// The node; the webhook is registered with its cluster.
    pub node: Node,
    /// The scene; its source registry is stopped.
    pub scene: Scene,
    /// The image that runs.
    pub image: Image,
    /// It, as the author of a pod writes it.
    pub written: String,
    /// It, in the enterprise's registry, by digest.
    pub routed: String,
}

impl Stage {
    /// A namespace that takes part.
    pub const NAMESPACE: &str = "runners";

    /// Sets it.
    pub async fn set() -> Result<Self> {
        let node = Node::start().await?;
        let kubernetes = format!("kubeconfig:{}", node.cluster.kubeconfig().display());
        let mut scene = Scene::start_with(|drayage| drayage.syncer(&["--kubernetes", &kubernetes])).await?;
        // Unlike the image that pods are made of, which runs the same program.
        let image = Image::builder().program()?.label("algorithm", "runs").finish()?;
        let written = push(&scene, &image, "runs").await?;
        scene.source.stop();
        let routed = scene.routed(&format!("@{}", image.digest));
        let cluster = &node.cluster;
        cluster.register_webhook(&scene.drayage.webhook_url()?, scene.drayage.authority.pem()).await?;
        cluster.namespace(Self::NAMESPACE).await?;
        Ok(Self { node, scene, image, written, routed })
    }

    /// Has one more image built and pushed while the source registry is there for it, and gives it as the
    /// author of a pod writes it.
    pub async fn push(&mut self, image: &Image, commit: &str) -> Result<String> {
        self.scene.source.restart().await?;
        let written = push(&self.scene, image, commit).await?;
        self.scene.source.stop();
        Ok(written)
    }

    /// Checks that a container of the pod with this label runs the enterprise's image.
    pub async fn runs(&self, label: &str, container: &str) -> Result<()> {
        let status = self.node.runs(Self::NAMESPACE, label, container).await?;
        ensure!(status["imageID"] == self.routed, "{status} instead of {}", self.routed);
        Ok(())
    }

    /// Checks that the node has pulled an image from the enterprise's registry with the login that reads.
    pub fn pulled(&self, image: &Image) -> Result<()> {
        let path = format!("/v2/{}/manifests/{}", self.scene.repository(), image.digest);
        let requests = self.scene.enterprise.requests();
        let reader = &self.scene.reader.username;
        let found = requests.iter().find(|made| {
            let by_node = made.agent.starts_with("containerd/") && made.user == *reader;
            by_node && made.uri == path && made.method == "GET" && made.status == 200
        });
        found.with_context(|| format!("no pull of {path} in {requests:?}")).map(drop)
    }
}

/// Has an image built and pushed, and waits until the webhook routes it.
async fn push(scene: &Scene, image: &Image, commit: &str) -> Result<String> {
    let repository = scene.algorithm.repository();
    scene.source.push(image, &repository, commit).await?;
    let push = json!({"commitSha": commit, "registry_push_credentials": scene.own_credentials()});
    let hash = scene.drayage.compile(&scene.algorithm, &push).await?;
    scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
    let pod = scene.pod(Stage::NAMESPACE, &format!(":{hash}"));
    eventually("the route", async || {
        let pod = scene.drayage.admit(&pod).await?.pod;
        ensure!(pod["spec"]["containers"][0]["imagePullPolicy"] == "Always", "{pod}");
        Ok(())
    })
    .await?;
    Ok(format!("{}/{repository}:{hash}", scene.source.host()))
}

/// An object of a kind whose pods are made from a template, in the stage's namespace.
pub fn workload(api: &str, kind: &str, spec: &Value) -> Value {
    let metadata = json!({"name": kind.to_lowercase(), "namespace": Stage::NAMESPACE});
    json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
}

/// A template whose pods carry the label `run=NAME`.
pub fn template(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"labels": {"run": name}}, "spec": spec})
}

/// What Deployments and their like say: a template and its own label.
pub fn of_template(name: &str, spec: &Value) -> Value {
    json!({"selector": {"matchLabels": {"run": name}}, "template": template(name, spec)})
}
