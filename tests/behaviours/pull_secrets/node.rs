//! A real node pulls with the Secret that the syncer keeps: nobody has made one by hand.

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::image::Image;
use harness::node::{Node, prove};
use harness::scene::Scene;
use serde_json::json;

use super::{NAME, RUNNERS};

#[test]
fn node_pulls_with_the_secret_that_the_webhook_adds_to_those_of_the_service_account() {
    prove(async {
        let node = Node::start().await?;
        let cluster = &node.cluster;
        let kubernetes = format!("kubeconfig:{}", cluster.kubeconfig().display());
        let scene = Scene::start_with(|drayage| drayage.syncer(&["--kubernetes", &kubernetes])).await?;
        let image = Image::builder().program()?.label("algorithm", "primes").finish()?;
        scene.source.push(&image, &scene.algorithm.repository(), "runs").await?;
        let push = json!({"commitSha": "runs", "registry_push_credentials": scene.own_credentials()});
        let hash = scene.drayage.compile(&scene.algorithm, &push).await?;
        scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        cluster.register_webhook(&scene.drayage.webhook_url()?, scene.drayage.authority.pem()).await?;
        cluster.namespace(RUNNERS).await?;
        let account = json!({"imagePullSecrets": [{"name": "of-the-account"}]}).to_string();
        let account = ["patch", "serviceaccount", "default", "-n", RUNNERS, "--type=merge", "-p", &account];
        // A controller makes the account a moment after its namespace.
        eventually("the service account", async || cluster.kubectl(&account).await).await?;

        let mut pod = scene.pod(RUNNERS, &format!(":{hash}"));
        pod["metadata"]["labels"] = json!({"run": "primes"});
        let stored = eventually("a routed pod", async || routed(&scene, &node, &pod).await).await?;
        let secrets = &stored["spec"]["imagePullSecrets"];
        ensure!(*secrets == json!([{"name": "of-the-account"}, {"name": NAME}]), "{secrets}");
        let status = node.runs(RUNNERS, "run=primes", "runner").await?;
        let expected = scene.routed(&format!("@{}", image.digest));
        ensure!(status["imageID"] == expected, "{status} instead of {expected}");
        let requests = scene.enterprise.requests();
        let by_node = |agent: &str| agent.starts_with("containerd/");
        let pulled = requests.iter().find(|made| by_node(&made.agent) && made.status == 200);
        let pulled = pulled.context("the node has pulled nothing")?;
        ensure!(pulled.user == scene.reader.username, "{pulled:?}");
        Ok(())
    });
}

/// Creates the pod; one that came before its route is taken away again.
async fn routed(scene: &Scene, node: &Node, pod: &serde_json::Value) -> Result<serde_json::Value> {
    let stored = node.cluster.create(pod).await?;
    let image = stored["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    if !image.starts_with(&scene.enterprise.host()) {
        let delete = ["delete", "pod", "-n", RUNNERS, "runner", "--grace-period=0", "--force"];
        node.cluster.kubectl(&delete).await?;
    }
    ensure!(image.starts_with(&scene.enterprise.host()), "{image}");
    Ok(stored)
}
