//! Rows A4 and A5: compile pushes with the login that it is given, or with the stored one.

use anyhow::{Context, Result, ensure};
use harness::claim::prove;
use harness::image::{Family, Image};
use harness::registry::Request;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::{Value, json};

fn writers(scene: &Scene) -> Vec<String> {
    let puts = |request: &Request| request.method == "PUT" && request.status == 201;
    let mut users: Vec<_> =
        scene.enterprise.requests().into_iter().filter(puts).map(|put| put.user).collect();
    users.dedup();
    users
}

#[test]
fn push_writes_with_its_own_login_and_reads_back_with_the_stored_one() {
    prove(async {
        let scene = Scene::start().await?;
        let hash = scene.drayage.compile(&scene.algorithm, &scene.own_push()).await?;
        ensure!(hash == COMMIT, "{hash}");
        let status = scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        scene.enterprise.holds(&scene.image, &scene.repository(), &hash).await?;
        ensure!(status["digest"] == scene.image.digest, "{status}");
        ensure!(status["image"] == scene.routed(&format!(":{hash}")), "{status}");

        ensure!(writers(&scene) == ["pusher"], "written by {:?}", writers(&scene));
        let proof = format!("/manifests/{}", scene.image.digest);
        let proven = |request: &Request| {
            request.user == "reader" && request.uri.ends_with(&proof) && request.status == 200
        };
        ensure!(scene.enterprise.requests().iter().any(proven), "not read back by the reading login");
        Ok(())
    });
}

#[test]
fn push_without_credentials_uses_the_stored_login() {
    prove(async {
        let scene = Scene::start().await?;
        let hash = scene.drayage.compile(&scene.algorithm, &scene.stored_push()).await?;
        scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        scene.enterprise.holds(&scene.image, &scene.repository(), &hash).await?;
        ensure!(writers(&scene) == ["reader"], "written by {:?}", writers(&scene));
        Ok(())
    });
}

#[test]
fn unknown_registry_is_refused_before_anything_is_recorded() {
    prove(async {
        let scene = Scene::start().await?;
        let unknown = [json!("5fe3a2c6-a1d2-48e9-8d0c-7f61b3a9e8d7"), json!("nonsense"), json!(7)];
        let refused = async |call: &str| -> Result<()> {
            for id in &unknown {
                let body = json!({"commitSha": COMMIT, "registry_push_credentials": {"registry_id": id}});
                let (path, key) = (scene.algorithm.path(call), &scene.algorithm.key);
                let answer = scene.drayage.call(Method::POST, &path, key, Some(&body)).await?;
                let error = answer.expect(400).with_context(|| body.to_string())?;
                let message = error["error"]["message"].as_str().context("a message")?;
                ensure!(message.contains("registry_id"), "{message}");
            }
            Ok(())
        };
        let nothing_in = async |list: &str| -> Result<()> {
            let recorded = scene.drayage.get(&scene.algorithm.path(list)).await?;
            ensure!(recorded["results"] == json!([]), "{list}: {recorded}");
            Ok(())
        };
        refused("/compile").await?;
        nothing_in("/versions").await?;
        nothing_in("/builds").await?;
        scene.drayage.compile(&scene.algorithm, &json!({"commitSha": COMMIT})).await?;
        refused("/version").await?;
        nothing_in("/versions?published=true").await?;
        ensure!(scene.drayage.statuses(&scene.algorithm, COMMIT).await?.is_empty());
        Ok(())
    });
}

#[test]
fn wrong_login_fails_at_once_with_its_reason() {
    prove(async {
        let scene = Scene::start().await?;
        let mut body = scene.own_push();
        body["registry_push_credentials"]["registry_password"] = "a guess".into();
        let hash = scene.drayage.compile(&scene.algorithm, &body).await?;
        let status = scene.drayage.ended(&scene.algorithm, &hash, &scene.registry).await?;
        ensure!(status["status"] == "failed" && status["reason"] == "credentials_refused", "{status}");
        ensure!(status["status_message"].as_str().is_some_and(|message| !message.is_empty()), "{status}");
        Ok(())
    });
}

#[test]
fn every_kind_of_image_arrives_byte_for_byte() {
    prove(async {
        let scene = Scene::start().await?;
        let docker = Image::builder().family(Family::Docker).random_layer(3 << 20)?.layer(vec![0; 1 << 20]);
        let many = (0..12).try_fold(Image::builder(), |image, _| image.random_layer(10_000))?;
        let images =
            [Image::small()?, docker.finish()?, Image::two_platforms(Family::Docker)?, many.finish()?];
        for (number, image) in images.iter().enumerate() {
            let tag = format!("build-{number}");
            scene.source.push(image, &scene.algorithm.repository(), &tag).await?;
            let mut body = scene.stored_push();
            body["commitSha"] = tag.into();
            let hash = scene.drayage.compile(&scene.algorithm, &body).await?;
            scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
            scene.enterprise.holds(image, &scene.repository(), &hash).await?;
        }
        Ok(())
    });
}

#[test]
fn version_hash_is_the_label_of_the_build_where_it_has_one() {
    prove(async {
        let scene = Scene::start().await?;
        let label = "0123456789abcdef0123456789abcdef01234567";
        let labelled = Image::builder().revision(label).random_layer(100)?.finish()?;
        scene.source.push(&labelled, &scene.algorithm.repository(), "latest").await?;
        let hash = scene.drayage.compile(&scene.algorithm, &json!({})).await?;
        ensure!(hash == label, "{hash}");
        let none: Vec<Value> = scene.drayage.statuses(&scene.algorithm, &hash).await?;
        ensure!(none.is_empty(), "nobody asked for a push: {none:?}");
        Ok(()) as Result<()>
    });
}
