//! "Why does this pod run from there?": an explanation follows the pushes of an image, says what the
//! admission says, and tells nobody about another's images.

use anyhow::{Context, Result, bail, ensure};
use harness::claim::{eventually, prove};
use harness::image::Image;
use harness::registry::Registry;
use harness::scene::{COMMIT, Scene};
use harness::services::Answer;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

/// What is said to a caller about an image of the scene's algorithm.
async fn explain(scene: &Scene, key: &str, tag_or_digest: &str) -> Result<Answer> {
    let image = format!("{}/{}{tag_or_digest}", scene.source.host(), scene.algorithm.repository());
    let path = format!("/v1/explain?image={}", image.replace('@', "%40"));
    scene.drayage.call(Method::GET, &path, key, None).await
}

/// What is said to the owner about the tag of the first build.
async fn explained(scene: &Scene) -> Result<Value> {
    explain(scene, &scene.algorithm.key, &format!(":{COMMIT}")).await?.expect(200)
}

async fn push(scene: &Scene, registry: &str) -> Result<()> {
    let path = scene.algorithm.path(&format!("/versions/{COMMIT}/registry"));
    let body = json!({"registry_id": registry});
    scene.drayage.call(Method::POST, &path, &scene.algorithm.key, Some(&body)).await?.expect(204)?;
    Ok(())
}

/// Waits until the webhook's audit annotation says what the explanation says, and gives the admission's image.
async fn admitted(scene: &Scene) -> Result<String> {
    let pod = scene.pod("runners", &format!(":{COMMIT}"));
    eventually("the admission to say the same", async || {
        let sentence = explained(scene).await?["sentence"].as_str().context("a sentence")?.to_owned();
        let review = scene.drayage.admit(&pod).await?;
        let note = review.response["auditAnnotations"]["route"].as_str().unwrap_or_default().to_owned();
        ensure!(note.starts_with(&sentence), "{note:?} is not {sentence:?}");
        let unrouted = note.ends_with("; it runs from the source registry");
        ensure!(unrouted == review.response["warnings"].is_array(), "{}", review.response);
        let image = review.pod["spec"]["containers"][0]["image"].as_str();
        Ok(image.context("an image")?.to_owned())
    })
    .await
}

#[test]
fn explanation_follows_the_pushes_of_an_image_and_says_what_an_admission_says() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, owner, tag) = (&scene.drayage, &scene.algorithm.key, format!(":{COMMIT}"));
        explain(&scene, owner, &tag).await?.expect(404)?;
        drayage.compile(&scene.algorithm, &json!({"commitSha": COMMIT})).await?;
        let built = explained(&scene).await?;
        ensure!(built["decision"] == "never-pushed" && built["pushes"] == json!([]), "{built}");
        let from_source = format!("{}/{}{tag}", scene.source.host(), scene.algorithm.repository());
        ensure!(admitted(&scene).await? == from_source);

        scene.source.signal(Signal::STOP)?;
        push(&scene, &scene.registry).await?;
        eventually("the push to be under way", async || {
            let running = explained(&scene).await?;
            ensure!(running["decision"] == "never-pushed", "{running}");
            match running["pushes"][0]["sentence"].as_str() {
                Some(sentence) if sentence.ends_with("is under way") => Ok(()),
                _ => bail!("{running}"),
            }
        })
        .await?;
        scene.source.signal(Signal::CONT)?;
        drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;
        let first = explained(&scene).await?;
        ensure!(first["pulled_as"] == scene.routed(&tag), "{first}");
        ensure!(first["push"]["registry_id"] == scene.registry && first["pushes"] == json!([]), "{first}");
        ensure!(first["push"]["digest"] == scene.image.digest, "{first}");
        ensure!(first["pull_secret"] == json!({"name": "drayage-registries", "has_login": true}), "{first}");
        ensure!(admitted(&scene).await? == scene.routed(&tag));

        let other = Registry::open().await?;
        let second = drayage.register(&other.url(), None).await?;
        push(&scene, &second).await?;
        drayage.pushed(&scene.algorithm, COMMIT, &second).await?;
        let moved = explained(&scene).await?;
        let there = format!("{}/{}{tag}", other.host(), scene.algorithm.repository());
        ensure!(
            moved["pulled_as"] == there && moved["considered"][1]["registry_id"] == scene.registry,
            "{moved}"
        );
        ensure!(moved["push"]["revision"].as_u64() > first["push"]["revision"].as_u64(), "{moved}");
        ensure!(admitted(&scene).await? == there);
        let named = drayage.call(Method::GET, &format!("/v1/explain?image={there}"), owner, None).await?;
        ensure!(named.expect(200)?["decision"] == "destination", "{}", named.text);

        for (registry, decision) in [(&second, "routed"), (&scene.registry, "registries-deleted")] {
            let path = format!("/v1/registries/{registry}");
            drayage.call(Method::DELETE, &path, &drayage.admin_key, None).await?.expect(200)?;
            let left = explained(&scene).await?;
            ensure!(left["decision"] == decision, "{left}");
            let image = if decision == "routed" { scene.routed(&tag) } else { from_source.clone() };
            ensure!(admitted(&scene).await? == image);
        }
        Ok(())
    });
}

#[test]
fn explanation_is_for_the_owner_and_administrators() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, admin) = (&scene.drayage, &scene.drayage.admin_key);
        drayage.compile(&scene.algorithm, &scene.stored_push()).await?;
        drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;
        let stranger = drayage.standard_key("eve").await?;
        let digest = format!("@{}", scene.image.digest);
        for named in [&*format!(":{COMMIT}"), &digest, &format!(":{COMMIT}{digest}")] {
            let own = explain(&scene, &scene.algorithm.key, named).await?.expect(200)?;
            ensure!(own["decision"] == "routed", "{own}");
            ensure!(explain(&scene, admin, named).await?.expect(200)? == own);
            explain(&scene, &stranger, named).await?.expect(404)?;
        }
        let message = |answer: Answer| anyhow::Ok(answer.expect(404)?["error"]["message"].clone());
        let theirs = message(explain(&scene, &stranger, ":latest").await?)?;
        let path = format!("/v1/explain?image={}/algorithms/nobody/nothing", scene.source.host());
        ensure!(theirs == message(drayage.call(Method::GET, &path, &stranger, None).await?)?);
        let pods = "/v1/explain?namespace=runners&pod=p";
        drayage.call(Method::GET, pods, &scene.algorithm.key, None).await?.expect(403)?;
        drayage.call(Method::GET, pods, admin, None).await?.expect(200)?;

        let newer = Image::small()?;
        scene.source.push(&newer, &scene.algorithm.repository(), COMMIT).await?;
        drayage.compile(&scene.algorithm, &json!({"commitSha": COMMIT})).await?;
        let behind = explain(&scene, admin, &format!(":{COMMIT}")).await?.expect(200)?;
        ensure!(
            behind["behind"] == true && behind["pulled_as"] == scene.routed(&format!(":{COMMIT}")),
            "{behind}"
        );
        Ok(())
    });
}
