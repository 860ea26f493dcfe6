//! Row A7: a destination that is down delays its pushes and nothing else.

use anyhow::{bail, ensure};
use harness::claim::{eventually, prove};
use harness::faults::{Built, Setup, on_stage};
use harness::image::Image;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::json;

#[test]
fn push_waits_for_its_destination_and_a_re_push_is_tried_at_once() {
    prove(async {
        let mut scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        drayage.compile(algorithm, &json!({"commitSha": COMMIT})).await?;
        scene.enterprise.stop();
        let credentials = json!({"registry_id": scene.registry});
        let version = drayage.publish(algorithm, &json!({"registry_push_credentials": credentials})).await?;
        ensure!(version == "0.1.0", "{version}");
        let waiting = eventually("the first refusal", async || {
            let status = drayage.status(algorithm, COMMIT, &scene.registry).await?;
            match status["status_message"].as_str() {
                Some(message) if !message.is_empty() => Ok(status),
                _ => bail!("{status}"),
            }
        });
        let waiting = waiting.await?;
        ensure!(waiting["status"] == "pending", "{waiting}");
        ensure!(waiting["reason"] == "destination_unreachable", "{waiting}");

        scene.enterprise.restart().await?;
        let path = algorithm.path(&format!("/versions/{COMMIT}/registry"));
        let again = drayage.call(Method::POST, &path, &algorithm.key, Some(&credentials)).await?;
        again.expect(204)?;
        let status = drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
        ensure!(status["digest"] == scene.image.digest, "{status}");
        ensure!(status["updated_at"].as_str() > waiting["updated_at"].as_str(), "{status}");
        scene.enterprise.holds(&scene.image, &scene.repository(), COMMIT).await
    });
}

#[test]
fn pushes_to_a_registry_that_is_down_wait_together_and_go_on_together() {
    on_stage(Setup::default(), async |stage| {
        let first = stage.build(Image::small()?).await?;
        stage.to.shut().await;
        stage.ask(&first).await?;
        stage.waits(&first, "destination_unreachable").await?;
        let mut others = Vec::new();
        for _ in 0..5 {
            let tag = stage.tag();
            let image = Image::builder().random_layer(1_000)?.finish()?;
            stage.source.push(&image, &stage.algorithm.repository(), &tag).await?;
            let login = json!({"registry_username": stage.pusher.username,
                               "registry_password": stage.pusher.password, "registry_id": stage.registry});
            let body = json!({"commitSha": tag, "registry_push_credentials": login});
            let hash = stage.drayage.compile(&stage.algorithm, &body).await?;
            others.push(Built { hash, image });
        }
        for other in &others {
            let status = stage.waits(other, "destination_unreachable").await?;
            let message = status["status_message"].as_str().unwrap_or_default();
            ensure!(message.contains("refused") && message.contains("waiting for the registry"), "{status}");
            ensure!(status["attempts"] == 0, "one looks for all: {status}");
        }
        stage.to.open().await?;
        stage.over(&first).await?.succeeded()?;
        for other in &others {
            stage.over(other).await?.succeeded()?;
            ensure!(stage.status(other).await?["attempts"].as_u64() <= Some(2));
        }
        Ok(())
    });
}

#[test]
fn admission_answers_when_everything_else_is_gone() {
    prove(async {
        let mut scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        drayage.compile(algorithm, &scene.stored_push()).await?;
        drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
        let (pod, routed) =
            (scene.pod("runners", &format!(":{COMMIT}")), scene.routed(&format!(":{COMMIT}")));
        eventually("the route", async || {
            let image = drayage.admit(&pod).await?.pod["spec"]["containers"][0]["image"].clone();
            ensure!(image == routed, "{image}");
            Ok(())
        })
        .await?;

        scene.source.stop();
        scene.enterprise.stop();
        scene.drayage.api.kill()?;
        scene.drayage.syncer.kill()?;
        for file in ["drayage.db", "drayage.db-wal", "drayage.db-shm"] {
            std::fs::remove_file(scene.drayage.file(file)).ok();
        }
        let stored = scene.drayage.admit(&pod).await?.pod;
        ensure!(stored["spec"]["containers"][0]["image"] == routed, "{stored}");
        scene.drayage.webhook.ready().await
    });
}
