//! What a real API server stores when the webhook is registered as the manifests say: pods of
//! every shape, a live pod that changes, and a namespace that takes no part.

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::image::Image;
use harness::registry::Registry;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::{Value, json};

const NAMESPACE: &str = "runners";

/// A control plane with the webhook registered, and a scene whose version has been pushed.
async fn stage() -> Result<(Cluster, Scene)> {
    let cluster = Cluster::start().await?;
    let scene = Scene::start().await?;
    scene.drayage.compile(&scene.algorithm, &scene.stored_push()).await?;
    scene.drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;
    follows(&scene, &scene.routed(&tag())).await?;
    cluster.register_webhook(&scene.drayage.webhook_url()?, scene.drayage.authority.pem()).await?;
    cluster.namespace(NAMESPACE).await?;
    Ok((cluster, scene))
}

/// Waits until the webhook routes the version to `image`.
async fn follows(scene: &Scene, image: &str) -> Result<()> {
    eventually("the route", async || {
        let pod = scene.drayage.admit(&scene.pod(NAMESPACE, &tag())).await?.pod;
        ensure!(pod["spec"]["containers"][0]["image"] == image, "{pod}");
        Ok(())
    })
    .await
}

fn tag() -> String {
    format!(":{COMMIT}")
}

fn ensure_routed(container: &Value, image: &str) -> Result<()> {
    ensure!(container["image"] == image && container["imagePullPolicy"] == "Always", "{container}");
    Ok(())
}

#[test]
fn every_image_of_a_pod_is_routed_and_nothing_else_is_touched() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let digest = format!("@{}", scene.image.digest);
        let mut pod = scene.pod(NAMESPACE, &tag());
        let named =
            |tag_or_digest: &str| scene.pod("", tag_or_digest)["spec"]["containers"][0]["image"].clone();
        pod["spec"]["containers"] = json!([
            {"name": "by-tag", "image": named(&tag()), "imagePullPolicy": "Never"},
            {"name": "by-digest", "image": named(&digest)},
            {"name": "by-both", "image": named(&format!("{}{digest}", tag()))},
            {"name": "sidecar", "image": "registry.example/proxy:1", "imagePullPolicy": "IfNotPresent"},
        ]);
        pod["spec"]["initContainers"] = json!([
            {"name": "before", "image": named(&tag()), "imagePullPolicy": "IfNotPresent"},
        ]);
        pod["spec"]["volumes"] = json!([
            {"name": "model", "image": {"reference": named(&digest), "pullPolicy": "IfNotPresent"}},
        ]);
        let stored = cluster.create(&pod).await?;
        let (by_tag, by_digest) = (scene.routed(&tag()), scene.routed(&digest));
        let (containers, spec) = (&stored["spec"]["containers"], &stored["spec"]);
        ensure_routed(&containers[0], &by_tag)?;
        ensure_routed(&containers[1], &by_digest)?;
        ensure_routed(&containers[2], &by_digest)?;
        ensure_routed(&spec["initContainers"][0], &by_tag)?;
        let (sidecar, volume) = (&containers[3], &spec["volumes"][0]["image"]);
        ensure!(sidecar["image"] == "registry.example/proxy:1", "{sidecar}");
        ensure!(sidecar["imagePullPolicy"] == "IfNotPresent", "{sidecar}");
        ensure!(volume["reference"] == by_digest && volume["pullPolicy"] == "Always", "{volume}");
        let routed = stored["metadata"]["annotations"]["drayage.dev/routed"].as_str().context("a report")?;
        let routed: Value = serde_json::from_str(routed)?;
        let expected = json!({
            "by-tag": named(&tag()), "by-digest": named(&digest), "before": named(&tag()),
            "by-both": named(&format!("{}{digest}", tag())), "volume/model": named(&digest),
        });
        ensure!(routed == expected, "{routed}");

        let mut again = stored.clone();
        again["metadata"] = json!({"name": "again", "namespace": NAMESPACE,
                                   "annotations": stored["metadata"]["annotations"]});
        let again = cluster.create(&again).await?;
        ensure!(again["spec"] == stored["spec"], "a second admission changed {again}");
        ensure!(again["metadata"]["annotations"] == stored["metadata"]["annotations"], "{again}");

        let audit = cluster.audit()?;
        let mut notes = audit.iter().map(|event| &event["annotations"]);
        let note = notes.find(|notes| notes.get("pods.drayage.dev/push").is_some());
        let note = note.context("no audit annotation names the push")?;
        ensure!(note.get("pods.drayage.dev/route").is_some(), "{note}");
        Ok(())
    });
}

#[test]
fn debug_container_is_routed() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let stored = cluster.create(&scene.pod(NAMESPACE, &tag())).await?;
        let image = scene.pod("", &tag())["spec"]["containers"][0]["image"].to_string();
        let image = format!("--image={}", image.trim_matches('"'));
        let debug = ["debug", "-n", NAMESPACE, "runner", &image, "-c", "debugger", "--attach=false"];
        cluster.kubectl(&[&debug[..], &["--image-pull-policy=IfNotPresent"]].concat()).await?;
        let live = cluster.get(&["get", "-n", NAMESPACE, "pod", "runner"]).await?;
        ensure_routed(&live["spec"]["ephemeralContainers"][0], &scene.routed(&tag()))?;
        ensure!(live["spec"]["containers"] == stored["spec"]["containers"], "{live}");
        Ok(())
    });
}

#[test]
fn namespace_that_takes_no_part_is_left_alone() {
    prove(async {
        let (mut cluster, mut scene) = stage().await?;
        for name in ["default", "kube-public"] {
            let pod = scene.pod(name, &tag());
            let stored = cluster.create(&pod).await?;
            let (stored, written) = (&stored["spec"]["containers"][0], &pod["spec"]["containers"][0]);
            ensure!(stored["image"] == written["image"], "{stored}");
            ensure!(stored["imagePullPolicy"] == "IfNotPresent", "{stored}");
        }
        // Nor does it notice when nobody answers, while the others are refused.
        scene.drayage.webhook.kill()?;
        refused(&mut cluster, &scene.pod(NAMESPACE, &tag()), "pods.drayage.dev").await?;
        let mut pod = scene.pod("default", &tag());
        pod["metadata"]["name"] = "another".into();
        cluster.create(&pod).await?;
        Ok(())
    });
}

async fn refused(cluster: &mut Cluster, pod: &Value, because: &str) -> Result<()> {
    let refusal = format!("{:#}", cluster.create(pod).await.err().context("the pod was stored")?);
    ensure!(refusal.contains(because), "{refusal}");
    Ok(())
}

#[test]
fn another_image_of_a_live_pod_is_judged_like_a_new_one() {
    prove(async {
        let (cluster, scene) = stage().await?;
        cluster.create(&scene.pod(NAMESPACE, &tag())).await?;
        let second = Image::small()?;
        scene.source.push(&second, &scene.algorithm.repository(), "second").await?;
        let body =
            json!({"commitSha": "second", "registry_push_credentials": {"registry_id": scene.registry}});
        let hash = scene.drayage.compile(&scene.algorithm, &body).await?;
        scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        let source = format!("{}/{}:{hash}", scene.source.host(), scene.algorithm.repository());
        let set = format!("runner={source}");
        let routed = scene.routed(&format!(":{hash}"));
        eventually("the new route", async || {
            cluster.kubectl(&["set", "image", "-n", NAMESPACE, "pod/runner", &set]).await?;
            let live = cluster.get(&["get", "-n", NAMESPACE, "pod", "runner"]).await?;
            ensure_routed(&live["spec"]["containers"][0], &routed)
        })
        .await?;

        let mut plain = scene.pod(NAMESPACE, &tag());
        plain["metadata"]["name"] = "plain".into();
        plain["spec"]["containers"][0]["image"] = "registry.example/other:1".into();
        cluster.create(&plain).await?;
        let refusal = cluster.kubectl(&["set", "image", "-n", NAMESPACE, "pod/plain", &set]).await;
        let refusal = format!("{:#}", refusal.err().context("it runs without Always")?);
        ensure!(refusal.contains("create"), "no advice to re-create the pod: {refusal}");
        Ok(())
    });
}

#[test]
fn live_pod_is_not_touched_when_its_route_moves() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let mut pod = scene.pod(NAMESPACE, &tag());
        pod["metadata"]["finalizers"] = json!(["drayage.dev/of-a-test"]);
        let stored = cluster.create(&pod).await?;
        let other = Registry::open().await?;
        let id = scene.drayage.register(&other.url(), None).await?;
        let path = scene.algorithm.path(&format!("/versions/{COMMIT}/registry"));
        let (key, body) = (&scene.algorithm.key, json!({"registry_id": id}));
        scene.drayage.call(Method::POST, &path, key, Some(&body)).await?.expect(204)?;
        scene.drayage.pushed(&scene.algorithm, COMMIT, &id).await?;
        follows(&scene, &format!("{}/{}{}", other.host(), scene.algorithm.repository(), tag())).await?;

        let patch = r#"{"metadata":{"finalizers":null,"labels":{"touched":"yes"}}}"#;
        cluster.kubectl(&["patch", "-n", NAMESPACE, "pod", "runner", "--type=merge", "-p", patch]).await?;
        let live = cluster.get(&["get", "-n", NAMESPACE, "pod", "runner"]).await?;
        ensure!(live["metadata"]["labels"]["touched"] == "yes", "{live}");
        ensure!(live["spec"] == stored["spec"], "{live}");
        Ok(())
    });
}
