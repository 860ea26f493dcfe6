//! Pods that are created without a pause while something is taken away, and what became of each. `losses` and
//! `upgrade` begin and end them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::cluster::Administrator;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Installed, NAMESPACE};

/// How many create pods at once.
const CREATORS: usize = 4;

/// A creation that was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) asked: Instant,
    pub(crate) took: Duration,
    pub(crate) answer: Value,
}

/// Creations that go on.
pub(crate) struct Creations {
    api: Administrator,
    created: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    creators: JoinSet<Result<Vec<Refusal>>>,
}

impl Creations {
    /// Begins to create pods of an image, and goes on until the end.
    pub(crate) fn begin(installed: &Installed, image: &str) -> Result<Self> {
        let (created, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let api = installed.node.cluster.administrator()?;
        let image: Arc<str> = image.into();
        let mut creators = JoinSet::new();
        for _ in 0..CREATORS {
            creators.spawn(create(api.clone(), image.clone(), created.clone(), over.clone()));
        }
        Ok(Self { api, created, over, creators })
    }

    /// How many were stored so far.
    pub(crate) fn created(&self) -> usize {
        self.created.load(Ordering::Relaxed)
    }

    /// Waits until so many more are stored.
    pub(crate) async fn go_on(&self, more: usize) -> Result<()> {
        let before = self.created();
        eventually("creations", async || {
            ensure!(self.created() >= before + more);
            Ok(())
        })
        .await
    }

    /// Ends them, checks that nothing was stored that names the source registry, and gives every refusal.
    pub(crate) async fn end(mut self) -> Result<Vec<Refusal>> {
        self.over.store(true, Ordering::Relaxed);
        let mut refusals = Vec::new();
        while let Some(creator) = self.creators.join_next().await {
            refusals.extend(creator??);
        }
        let stored = self.api.get(&format!("{}?labelSelector=gated", pods())).await?["items"].take();
        let stored = stored.as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(stored.len() == self.created(), "{} stored, {} created", stored.len(), self.created());
        let unrouted = stored.iter().find(|pod| {
            let image = pod["spec"]["containers"][0]["image"].as_str();
            !image.is_some_and(|image| image.contains("/inspected/"))
        });
        ensure!(unrouted.is_none(), "{unrouted:?}");
        Ok(refusals)
    }
}

fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// Creates pods until it is over, and gives every refusal.
async fn create(
    api: Administrator,
    image: Arc<str>,
    created: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "gated-", "namespace": NAMESPACE, "labels": {"gated": "yes"}},
            // What matters is what is stored; the node has no place for so many.
            "spec": {
                "schedulingGates": [{"name": "drayage.dev/of-a-test"}],
                "containers": [{"name": "algorithm", "image": &*image}],
            },
        });
        let asked = Instant::now();
        let (status, answer) = api.post(&pods(), &pod).await?;
        if status.is_success() {
            created.fetch_add(1, Ordering::Relaxed);
        } else {
            refusals.push(Refusal { asked, took: asked.elapsed(), answer });
        }
    }
    Ok(refusals)
}
