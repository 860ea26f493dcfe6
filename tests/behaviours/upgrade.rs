//! The default overlay on a real node while pods are created without a pause: both webhooks are
//! restarted, one after the other, and the pod of the api, the syncer and their volume is killed.

use std::env;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::node::prove;

use crate::installation::Installed;
use crate::installation::creations::Creations;

/// So many pods at least, unless `CREATIONS` says otherwise; no fewer than while the restarts last.
const CREATIONS: usize = 500;

/// Has both webhooks replaced by an upgrade, and each once more as a drain of its node would, kills the volume's
/// pod, and waits until everything is ready again.
async fn restart(installed: &Installed) -> Result<()> {
    let Installed { node, installation, .. } = installed;
    let webhooks = ["rollout", "restart", "-n", "drayage", "deployment/drayage-webhook"];
    node.cluster.kubectl(&webhooks).await?;
    let volumes = ["delete", "pod", "-n", "drayage", "-l", "app.kubernetes.io/name=drayage"];
    node.cluster.kubectl(&[&volumes[..], &["--grace-period=0", "--force"]].concat()).await?;
    installation.ready(node, "drayage-webhook").await?;
    for webhook in installed.webhooks().await? {
        let name = webhook["metadata"]["name"].as_str().context("a name")?;
        node.cluster.kubectl(&["delete", "pod", "-n", "drayage", name, "--wait=false"]).await?;
        installed.webhooks().await?;
    }
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
            let image = installed.push().await?;
            let (creations, start) = (Creations::begin(&installed, &image)?, Instant::now());
            let enough = env::var("CREATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(CREATIONS);
            let mut restarts = 0;
            while restarts == 0 || creations.created() < enough {
                restart(&installed).await?;
                restarts += 1;
            }
            let (created, lasted) = (creations.created(), start.elapsed());
            let refusals = creations.end().await?;
            eprintln!("{created} creations in {lasted:?}, {restarts} restarts, {} refusals", refusals.len());
            ensure!(refusals.is_empty(), "{} of {created} refused: {:?}", refusals.len(), refusals.first());
            Ok(())
        };
        installed.told(claim.await).await
    });
}
