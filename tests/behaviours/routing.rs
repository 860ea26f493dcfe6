//! Row A8: one status a registry, and a pod that names the registry of the latest push.

use anyhow::{Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::registry::Registry;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::{Value, json};

async fn admitted_as(scene: &Scene, image: &str) -> Result<()> {
    let pod = scene.pod("runners", &format!(":{COMMIT}"));
    eventually("the route", async || {
        let container = scene.drayage.admit(&pod).await?.pod["spec"]["containers"][0].clone();
        ensure!(container["image"] == image && container["imagePullPolicy"] == "Always", "{container}");
        Ok(())
    })
    .await
}

#[test]
fn second_push_replaces_the_status_and_the_latest_success_is_the_route() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        drayage.compile(algorithm, &scene.stored_push()).await?;
        let first = drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
        admitted_as(&scene, &scene.routed(&format!(":{COMMIT}"))).await?;

        let other = Registry::open().await?;
        let other_id = drayage.register(&other.url(), None).await?;
        let path = algorithm.path(&format!("/versions/{COMMIT}/registry"));
        let push = async |registry: &str| -> Result<Value> {
            let body = json!({"registry_id": registry});
            drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?.expect(204)?;
            drayage.pushed(algorithm, COMMIT, registry).await
        };
        push(&other_id).await?;
        let elsewhere = format!("{}/{}:{COMMIT}", other.host(), algorithm.repository());
        admitted_as(&scene, &elsewhere).await?;

        let again = push(&scene.registry).await?;
        ensure!(again["updated_at"].as_str() > first["updated_at"].as_str(), "{first} {again}");
        let statuses = drayage.statuses(algorithm, COMMIT).await?;
        ensure!(statuses.len() == 2, "one status a registry: {statuses:?}");
        admitted_as(&scene, &scene.routed(&format!(":{COMMIT}"))).await
    });
}

#[test]
fn pod_of_a_pushed_version_is_stored_naming_the_enterprises_registry() {
    prove(async {
        let cluster = Cluster::start().await?;
        let scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        drayage.compile(algorithm, &scene.stored_push()).await?;
        drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
        let routed = scene.routed(&format!(":{COMMIT}"));
        admitted_as(&scene, &routed).await?;

        cluster.register_webhook(&drayage.webhook_url()?, drayage.authority.pem()).await?;
        cluster.namespace("runners").await?;
        let stored = cluster.create(&scene.pod("runners", &format!(":{COMMIT}"))).await?;
        let container = &stored["spec"]["containers"][0];
        ensure!(container["image"] == routed && container["imagePullPolicy"] == "Always", "{container}");
        Ok(())
    });
}
