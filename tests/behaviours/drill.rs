//! Row A10: the drill of docs/operations.md on a real node. Every pod is made anew, from where its route
//! leads now, and while it runs Drayage tells which pods still run from elsewhere.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::node::{Stage, of_template, prove, workload};
use harness::registry::{Login, Registry, Request};
use reqwest::Method;
use serde_json::json;

const NAMESPACE: &str = Stage::NAMESPACE;

/// Moves the route of the image that runs to another registry.
async fn move_route(stage: &mut Stage, registry: &Registry, login: &Login) -> Result<()> {
    let scene = &mut stage.scene;
    scene.source.restart().await?;
    let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
    let id = drayage.register(&registry.url(), Some(login)).await?;
    let (_, hash) = stage.written.rsplit_once(':').context("a tag")?;
    let path = algorithm.path(&format!("/versions/{hash}/registry"));
    let body = json!({"registry_id": id});
    drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?.expect(204)?;
    drayage.pushed(algorithm, hash, &id).await?;
    scene.source.stop();
    let pod = scene.pod(NAMESPACE, &format!(":{hash}"));
    eventually("the new route", async || {
        let image = scene.drayage.admit(&pod).await?.pod["spec"]["containers"][0]["image"].clone();
        ensure!(image.as_str().is_some_and(|image| image.starts_with(&registry.host())), "{image}");
        Ok(())
    })
    .await
}

/// Waits until Drayage names these owners of pods, and no others, as those that run from elsewhere.
async fn strays(stage: &Stage, expected: &[&str]) -> Result<()> {
    eventually("the strays to be named", async || {
        let page = stage.scene.drayage.get("/v1/pods?state=stray").await?;
        let pods = page["results"].as_array().into_iter().flatten();
        let owners = pods.filter_map(|pod| pod["owner"].as_str()?.split('/').next());
        ensure!(owners.collect::<BTreeSet<_>>() == expected.iter().copied().collect(), "{page}");
        Ok(())
    })
    .await
}

/// Waits until the pod with this label runs from a registry, after so many restarts of its container. The
/// image's id would not tell: the node knows the same image by both registries.
async fn runs_from(stage: &Stage, registry: &Registry, label: &str, restarts: u64) -> Result<()> {
    eventually(&format!("{label} to run"), async || {
        let pods = ["get", "pods", "-n", NAMESPACE, "-l", label];
        let pod = stage.node.cluster.get(&pods).await?["items"][0].take();
        let (image, status) =
            (&pod["spec"]["containers"][0]["image"], &pod["status"]["containerStatuses"][0]);
        ensure!(image.as_str().is_some_and(|image| image.starts_with(&registry.host())), "{image}");
        ensure!(status["restartCount"] == restarts && !status["state"]["running"].is_null(), "{status}");
        Ok(())
    })
    .await
}

/// How often the node has asked a registry for a manifest.
fn asked(registry: &Registry) -> usize {
    let requests = registry.requests();
    let of_node = |made: &&Request| made.agent.starts_with("containerd/") && made.uri.contains("/manifests/");
    requests.iter().filter(of_node).count()
}

#[test]
fn drill_makes_every_pod_anew_from_where_its_route_leads_now() {
    prove(async {
        let mut stage = Stage::set().await?;
        let spec = json!({"containers": [{"name": "algorithm", "image": stage.written}]});
        for (kind, name) in [("Deployment", "deployment"), ("DaemonSet", "daemonset")] {
            stage.node.cluster.create(&workload("apps/v1", kind, &of_template(name, &spec))).await?;
            stage.runs(&format!("run={name}"), "algorithm").await?;
        }
        let login = Login::new("sandbox")?;
        let sandbox = Registry::with_logins(vec![login.clone()]).await?;
        move_route(&mut stage, &sandbox, &login).await?;
        strays(&stage, &["DaemonSet", "ReplicaSet"]).await?;

        let kubectl = async |stage: &Stage, line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            stage.node.cluster.kubectl(&words).await
        };
        kubectl(&stage, "label node node algorithmia.com/role=algorithm-worker").await?;
        let workers = kubectl(&stage, "get nodes -l algorithmia.com/role=algorithm-worker -o name").await?;
        ensure!(workers.trim() == "node/node", "{workers}");
        kubectl(&stage, "drain --ignore-daemonsets --delete-emptydir-data node").await?;
        strays(&stage, &["DaemonSet"]).await?;
        let before = asked(&stage.scene.enterprise);
        stage.node.restart().await?;
        kubectl(&stage, "wait --for=condition=Ready node/node --timeout=10m").await?;
        kubectl(&stage, "uncordon node").await?;
        runs_from(&stage, &sandbox, "run=deployment", 0).await?;
        ensure!(asked(&sandbox) > 0, "nothing was pulled from {}", sandbox.host());

        // A drain leaves the pods of DaemonSets, which pull again from where they were first sent.
        runs_from(&stage, &stage.scene.enterprise, "run=daemonset", 1).await?;
        ensure!(asked(&stage.scene.enterprise) > before, "the registry was not asked again");
        strays(&stage, &["DaemonSet"]).await?;
        kubectl(&stage, "rollout restart daemonset/daemonset -n runners").await?;
        kubectl(&stage, "rollout status daemonset/daemonset -n runners --timeout=60s").await?;
        runs_from(&stage, &sandbox, "run=daemonset", 0).await?;
        strays(&stage, &[]).await
    });
}
