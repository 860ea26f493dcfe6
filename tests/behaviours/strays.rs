//! The auditor on a real API server: pods that run from elsewhere than their routes say are found, told and
//! explained, whatever let them in, by one syncer, by two, and by one that was away. Pods here never start,
//! for there is no node; what is not over counts.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::image::Image;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use crate::certificates::kubeconfig_of;

const RUNNERS: &str = "runners";
const OUTSIDE: &str = "outside";

/// A control plane that a syncer audits with its own rights, and a scene whose version was compiled.
async fn stage() -> Result<(Cluster, Scene)> {
    let cluster = Cluster::start().await?;
    for object in ["namespace", "service-account", "cluster-role", "cluster-role-binding"] {
        let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
        cluster.kubectl(&["apply", "-f", &format!("{manifests}/{object}.yaml")]).await?;
    }
    let kubernetes = format!("kubeconfig:{}", kubeconfig_of(&cluster, "drayage").await?.display());
    let scene = Scene::start_with(|drayage| drayage.syncer(&["--kubernetes", &kubernetes])).await?;
    cluster.namespace(RUNNERS).await?;
    cluster.kubectl(&["create", "namespace", OUTSIDE]).await?;
    scene.drayage.compile(&scene.algorithm, &json!({"commitSha": COMMIT})).await?;
    Ok((cluster, scene))
}

/// Has the version pushed to a registry, and waits until the webhook routes it there.
async fn push(scene: &Scene, registry: &str, routed: &str) -> Result<()> {
    let path = scene.algorithm.path(&format!("/versions/{COMMIT}/registry"));
    let body = json!({"registry_id": registry});
    scene.drayage.call(Method::POST, &path, &scene.algorithm.key, Some(&body)).await?.expect(204)?;
    scene.drayage.pushed(&scene.algorithm, COMMIT, registry).await?;
    eventually("the route", async || {
        let pod = scene.drayage.admit(&scene.pod(RUNNERS, &tag())).await?.pod;
        ensure!(pod["spec"]["containers"][0]["image"] == routed, "{pod}");
        Ok(())
    })
    .await
}

async fn register_webhook(cluster: &Cluster, scene: &Scene) -> Result<()> {
    cluster.register_webhook(&scene.drayage.webhook_url()?, scene.drayage.authority.pem()).await
}

fn tag() -> String {
    format!(":{COMMIT}")
}

/// Creates a pod of one container and gives what is stored.
async fn create(cluster: &Cluster, scene: &Scene, namespace: &str, name: &str, tag: &str) -> Result<Value> {
    let mut pod = scene.pod(namespace, tag);
    pod["metadata"]["name"] = name.into();
    cluster.create(&pod).await
}

/// The pods of a state, by name, each with the sentence about its image.
async fn listed(scene: &Scene, state: &str) -> Result<BTreeMap<String, String>> {
    let found = scene.drayage.get(&format!("/v1/pods?state={state}")).await?;
    let pods = found["results"].as_array().context("a list")?.iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(pods.map(|pod| (text(&pod["name"]), text(&pod["images"][0]["sentence"]))).collect())
}

/// Waits until the pods of a state are these, each for a reason that holds such words.
async fn found(scene: &Scene, state: &str, expected: &[(&str, &str)]) -> Result<()> {
    let what = format!("the {state} pods");
    let looked = eventually(&what, async || {
        let pods = listed(scene, state).await?;
        ensure!(pods.len() == expected.len(), "{pods:#?}");
        for (name, why) in expected {
            ensure!(pods.get(*name).is_some_and(|sentence| sentence.contains(why)), "{name}: {pods:#?}");
        }
        Ok(())
    });
    looked.await.with_context(|| scene.drayage.syncer.log())
}

/// Names of the pods that Events of ours are about, one an Event.
async fn told(cluster: &Cluster) -> Result<Vec<String>> {
    let events = cluster.get(&["get", "events.events.k8s.io", "--all-namespaces"]).await?;
    let events = events["items"].as_array().context("a list")?.iter();
    let ours = events.filter(|event| event["reason"] == "RunsFromElsewhere");
    let mut names: Vec<_> =
        ours.filter_map(|event| Some(event["regarding"]["name"].as_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

async fn metric(scene: &Scene) -> Result<String> {
    let (_, page) = scene.drayage.syncer.admin("/metrics").await?;
    let line = page.lines().find(|line| line.starts_with("drayage_stray_pods "));
    Ok(line.context("no gauge of strays")?.to_owned())
}

#[test]
fn pods_that_run_from_elsewhere_are_found_told_and_explained() {
    prove(async {
        let (cluster, scene) = stage().await?;
        // A pod that is older than the route.
        let stored = create(&cluster, &scene, RUNNERS, "early", &tag()).await?;
        let created = stored["metadata"]["creationTimestamp"].as_str().context("a time")?.to_owned();
        found(&scene, "unrouted", &[("early", "no push of it has succeeded yet")]).await?;
        eventually("the next second", async || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            ensure!(i64::try_from(now)? > created.parse::<jiff::Timestamp>()?.as_second());
            Ok(())
        })
        .await?;
        push(&scene, &scene.registry, &scene.routed(&tag())).await?;
        found(&scene, "unrouted", &[]).await?;

        // Nobody rewrites what is stored before the webhook is registered.
        create(&cluster, &scene, RUNNERS, "away", &tag()).await?;
        register_webhook(&cluster, &scene).await?;
        create(&cluster, &scene, OUTSIDE, "unlabelled", &tag()).await?;
        create(&cluster, &scene, RUNNERS, "never", ":never").await?;
        let foreign = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foreign", "namespace": RUNNERS},
            "spec": {"containers": [{"name": "c", "image": "registry.example/proxy:1"}]},
        });
        cluster.create(&foreign).await?;
        eventually("a routed pod", async || {
            let routed = create(&cluster, &scene, RUNNERS, "routed", &tag()).await?;
            ensure!(routed["spec"]["containers"][0]["image"] == scene.routed(&tag()), "{routed}");
            Ok(())
        })
        .await?;
        let strays = [
            ("away", "no webhook rewrote it when it was admitted"),
            ("early", "it was admitted before there was a route"),
            ("unlabelled", "its namespace does not carry the label drayage.dev/runners=enabled"),
        ];
        found(&scene, "stray", &strays).await?;
        found(&scene, "unrouted", &[("never", "never compiled")]).await?;
        found(&scene, "routed", &[("routed", "as last pushed to registry enterprise")]).await?;
        ensure!(metric(&scene).await? == "drayage_stray_pods 3", "{}", metric(&scene).await?);
        eventually("an Event on each", async || {
            let told = told(&cluster).await?;
            ensure!(told == ["away", "early", "unlabelled"], "{told:?}");
            Ok(())
        })
        .await?;

        let explained = async |name: &str| {
            scene.drayage.get(&format!("/v1/explain?namespace={OUTSIDE}&pod={name}")).await
        };
        let why = explained("unlabelled").await?;
        ensure!(why["pod"]["state"] == "stray" && why["as_of"].is_string(), "{why}");
        ensure!(
            why["sentence"].as_str().is_some_and(|why| why.contains("does not carry the label")),
            "{why}"
        );
        let why = explained("nobody").await?;
        ensure!(why["pod"].is_null() && why["as_of"].is_string(), "{why}");

        // The next registry makes what runs from the former one a stray.
        let other =
            scene.drayage.register(&format!("{}/other", scene.enterprise.url()), Some(&scene.pusher)).await?;
        push(&scene, &other, &scene.routed(&tag()).replace("/inspected/", "/other/")).await?;
        let strays = [&strays[..], &[("routed", "by an older route")]].concat();
        found(&scene, "stray", &strays).await?;
        eventually("an Event on that one", async || {
            let told = told(&cluster).await?;
            ensure!(told == ["away", "early", "routed", "unlabelled"], "{told:?}");
            Ok(())
        })
        .await?;

        // What ends is none any more.
        cluster.kubectl(&["label", "namespace", OUTSIDE, "drayage.dev/runners=enabled"]).await?;
        cluster.kubectl(&["delete", "pod", "-n", RUNNERS, "away", "routed", "--force"]).await?;
        cluster
            .kubectl(&[
                "patch",
                "pod",
                "-n",
                RUNNERS,
                "early",
                "--subresource=status",
                "-p",
                r#"{"status":{"phase":"Succeeded"}}"#,
            ])
            .await?;
        found(&scene, "stray", &[("unlabelled", "no webhook rewrote it")]).await
    });
}

#[test]
fn live_pod_whose_image_is_changed_is_judged_by_the_image_that_it_has_now() {
    prove(async {
        let (cluster, scene) = stage().await?;
        push(&scene, &scene.registry, &scene.routed(&tag())).await?;
        register_webhook(&cluster, &scene).await?;
        eventually("a routed pod", async || {
            let routed = cluster.get(&["get", "pod", "-n", RUNNERS, "runner"]).await;
            let routed = match routed {
                Ok(routed) => routed,
                Err(_) => create(&cluster, &scene, RUNNERS, "runner", &tag()).await?,
            };
            ensure!(routed["spec"]["containers"][0]["image"] == scene.routed(&tag()), "{routed}");
            Ok(())
        })
        .await?;

        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        scene.source.push(&Image::small()?, &algorithm.repository(), "next").await?;
        let body = json!({"commitSha": "next", "registry_push_credentials": {"registry_id": scene.registry}});
        let hash = drayage.compile(algorithm, &body).await?;
        drayage.pushed(algorithm, &hash, &scene.registry).await?;
        let routed = scene.routed(&format!(":{hash}"));
        eventually("the next route", async || {
            let pod = drayage.admit(&scene.pod(RUNNERS, &format!(":{hash}"))).await?.pod;
            ensure!(pod["spec"]["containers"][0]["image"] == routed, "{pod}");
            Ok(())
        })
        .await?;
        let set = format!("runner={}/{}:{hash}", scene.source.host(), algorithm.repository());
        cluster.kubectl(&["set", "image", "-n", RUNNERS, "pod/runner", &set]).await?;
        let pod = cluster.get(&["get", "pod", "-n", RUNNERS, "runner"]).await?;
        ensure!(pod["spec"]["containers"][0]["image"] == routed, "{pod}");
        let report = pod["metadata"]["annotations"]["drayage.dev/routed"].as_str();
        ensure!(
            report.is_some_and(|report| report.contains(COMMIT)),
            "an update patches images alone: {pod}"
        );
        found(&scene, "routed", &[("runner", &format!("{hash} is pulled as {routed}"))]).await?;
        found(&scene, "stray", &[]).await?;

        // What it does not run any more moves alone.
        let other =
            drayage.register(&format!("{}/other", scene.enterprise.url()), Some(&scene.pusher)).await?;
        push(&scene, &other, &scene.routed(&tag()).replace("/inspected/", "/other/")).await?;
        create(&cluster, &scene, RUNNERS, "later", &tag()).await?;
        found(&scene, "routed", &[("runner", &hash), ("later", COMMIT)]).await?;
        found(&scene, "stray", &[]).await
    });
}

#[test]
fn syncers_that_audit_together_or_were_away_tell_each_stray_once() {
    prove(async {
        let (mut cluster, mut scene) = stage().await?;
        push(&scene, &scene.registry, &scene.routed(&tag())).await?;
        let mut other = scene.drayage.syncer.beside().await?;
        other.ready().await?;
        for name in ["stays", "goes"] {
            create(&cluster, &scene, RUNNERS, name, &tag()).await?;
        }
        found(&scene, "stray", &[("stays", "no webhook"), ("goes", "no webhook")]).await?;
        eventually("an Event on each", async || {
            let told = told(&cluster).await?;
            ensure!(told == ["goes", "stays"], "{told:?}");
            Ok(())
        })
        .await?;

        scene.drayage.syncer.kill()?;
        other.kill()?;
        cluster.kubectl(&["delete", "pod", "-n", RUNNERS, "goes", "--force"]).await?;
        create(&cluster, &scene, RUNNERS, "came", &tag()).await?;
        ensure!(listed(&scene, "stray").await?.contains_key("goes"), "nobody has looked since");
        scene.drayage.syncer.restart().await?;
        found(&scene, "stray", &[("stays", "no webhook"), ("came", "no webhook")]).await?;
        eventually("an Event on the new one", async || {
            let told = told(&cluster).await?;
            ensure!(told == ["came", "goes", "stays"], "{told:?}");
            Ok(())
        })
        .await?;

        cluster.restart_server().await?;
        create(&cluster, &scene, RUNNERS, "later", &tag()).await?;
        found(&scene, "stray", &["stays", "came", "later"].map(|name| (name, "no webhook"))).await
    });
}

#[test]
fn owner_that_keeps_recreating_routed_pods_is_named() {
    prove(async {
        let (cluster, scene) = stage().await?;
        push(&scene, &scene.registry, &scene.routed(&tag())).await?;
        register_webhook(&cluster, &scene).await?;
        let mut pod = scene.pod(RUNNERS, &tag());
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "example.com/v1", "kind": "Runner", "name": "primes", "uid": "u", "controller": true},
        ]);
        for round in 0..5 {
            pod["metadata"]["name"] = format!("primes-{round}").into();
            let stored = eventually("a pod", async || cluster.create(&pod).await).await?;
            ensure!(stored["metadata"]["annotations"]["drayage.dev/routed"].is_string(), "{stored}");
            found(&scene, "routed", &[(&format!("primes-{round}"), "is pulled as")]).await?;
            let name = format!("primes-{round}");
            cluster.kubectl(&["delete", "pod", "-n", RUNNERS, &name, "--force"]).await?;
        }
        let owners = eventually("its owner", async || {
            let owners = scene.drayage.get("/v1/pods").await?["recreating_owners"].clone();
            ensure!(owners[0].is_object(), "{owners}");
            Ok(owners)
        });
        let owners = owners.await.with_context(|| scene.drayage.syncer.log())?;
        ensure!(owners[0]["owner"] == "Runner/primes" && owners[0]["pods"] == 5, "{owners}");
        ensure!(owners[0]["namespace"] == RUNNERS, "{owners}");
        ensure!(scene.drayage.syncer.log().contains("Runner/primes has created 5 pods anew"), "not logged");
        eventually("an Event on it", async || {
            let events = cluster.get(&["get", "events.events.k8s.io", "-n", RUNNERS]).await?;
            let mut events = events["items"].as_array().context("a list")?.iter();
            let event = events.find(|event| event["reason"] == "RecreatesRoutedPods");
            ensure!(event.context("none yet")?["regarding"]["name"] == "primes");
            Ok(())
        })
        .await
    });
}
