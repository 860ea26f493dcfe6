//! The default overlay on a real node while pods are created without a pause: both webhooks are
//! restarted, one after the other, and the pod of the api, the syncer and their volume is killed.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::cluster::Administrator;
use harness::node::prove;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::installation::{Installed, NAMESPACE};

/// How many create pods at once.
const CREATORS: usize = 4;
/// So many pods at least, unless `CREATIONS` says otherwise; no fewer than while the restarts last.
const CREATIONS: usize = 500;

/// Creates pods until it is over, and gives every refusal.
async fn create(
    api: Administrator,
    image: Arc<str>,
    created: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Result<Vec<Value>> {
    let mut refusals = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "gated-", "namespace": NAMESPACE},
            // What matters is what is stored; the node has no place for so many.
            "spec": {
                "schedulingGates": [{"name": "drayage.dev/of-a-test"}],
                "containers": [{"name": "algorithm", "image": &*image}],
            },
        });
        let (status, answer) = api.post(&pods(), &pod).await?;
        if status.is_success() {
            created.fetch_add(1, Ordering::Relaxed);
        } else {
            refusals.push(answer);
        }
    }
    Ok(refusals)
}

fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// Restarts both webhooks and kills the volume's pod, and waits until everything is ready again.
async fn restart(installed: &Installed) -> Result<()> {
    let Installed { node, installation, .. } = installed;
    let webhooks = ["rollout", "restart", "-n", "drayage", "deployment/drayage-webhook"];
    node.cluster.kubectl(&webhooks).await?;
    let volumes = ["delete", "pod", "-n", "drayage", "-l", "app.kubernetes.io/name=drayage"];
    node.cluster.kubectl(&[&volumes[..], &["--grace-period=0", "--force"]].concat()).await?;
    installation.ready(node, "drayage-webhook").await?;
    installation.ready(node, "drayage").await?;
    // The former ones answer until every node has heard that they go.
    eventually("the former webhooks to be gone", async || {
        let label = ["-l", "app.kubernetes.io/name=drayage-webhook", "-o", "name"];
        let left = node.cluster.kubectl(&[&["get", "pods", "-n", "drayage"], &label[..]].concat()).await?;
        ensure!(left.lines().count() == 2, "{left}");
        Ok(())
    })
    .await
}

#[test]
fn no_creation_is_refused_or_stored_unrouted_while_everything_restarts() {
    prove(async {
        let installed = Installed::from("default").await?;
        let claim = async {
            let image: Arc<str> = installed.push().await?.into();
            let (created, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
            let (api, start) = (installed.node.cluster.administrator()?, Instant::now());
            let mut creators = JoinSet::new();
            for _ in 0..CREATORS {
                creators.spawn(create(api.clone(), image.clone(), created.clone(), over.clone()));
            }
            let enough = env::var("CREATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(CREATIONS);
            let mut restarts = 0;
            let restarted = async {
                while restarts == 0 || created.load(Ordering::Relaxed) < enough {
                    restart(&installed).await?;
                    restarts += 1;
                }
                anyhow::Ok(())
            };
            let restarted = restarted.await;
            over.store(true, Ordering::Relaxed);
            let mut refusals = Vec::new();
            while let Some(creator) = creators.join_next().await {
                refusals.extend(creator??);
            }
            restarted?;
            let created = created.load(Ordering::Relaxed);
            eprintln!(
                "{created} creations in {:?}, {restarts} restarts, {} refusals",
                start.elapsed(),
                refusals.len()
            );
            ensure!(refusals.is_empty(), "{} of {created} refused: {:?}", refusals.len(), refusals.first());
            let stored = api.get(&pods()).await?["items"].take();
            let stored = stored.as_array().map(Vec::as_slice).unwrap_or_default();
            ensure!(stored.len() == created, "{} stored, {created} created", stored.len());
            let unrouted = stored.iter().find(|pod| {
                let image = pod["spec"]["containers"][0]["image"].as_str();
                !image.is_some_and(|image| image.contains("/inspected/"))
            });
            ensure!(unrouted.is_none(), "{unrouted:?}");
            Ok(())
        };
        installed.told(claim.await).await
    });
}
