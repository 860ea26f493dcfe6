//! Every kustomization prints, and what it prints is accepted by a real API server.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use harness::claim::prove;
use harness::cluster::Cluster;

fn kustomizations() -> Result<Vec<PathBuf>> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let overlays = std::fs::read_dir(manifests.join("overlays"))?;
    let overlays = overlays.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok([vec![manifests.join("base")], overlays].concat())
}

#[test]
fn manifests_are_accepted_by_an_api_server() {
    prove(async {
        let cluster = Cluster::start().await?;
        for folder in kustomizations()? {
            let folder = folder.to_string_lossy();
            let printed = cluster.kubectl(&["kustomize", &folder]).await?;
            ensure!(printed.contains("kind: MutatingWebhookConfiguration"), "{printed}");
            let apply = ["apply", "--server-side", "--warnings-as-errors", "-k", &folder];
            cluster.kubectl(&apply).await?;
            let again = cluster.kubectl(&apply).await?;
            ensure!(again.contains("serverside-applied"), "{again}");
        }
        Ok(())
    });
}
