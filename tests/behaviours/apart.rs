//! A webhook that is not beside the database follows the route feed of the api.

use std::fs;

use anyhow::{Result, bail, ensure};
use harness::claim::{eventually, prove};
use harness::scene::{COMMIT, Scene};
use harness::services::Drayage;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Gives the scene a webhook that is elsewhere; a pod, as it is written and what it is routed to by then, and
/// the webhook's key.
async fn routed_apart(scene: &mut Scene) -> Result<(Value, String, String)> {
    let body = json!({"key_type": "RouteReaderKey"});
    let admin = &scene.drayage.admin_key;
    let made = scene.drayage.call(Method::POST, "/v1/users/webhook/keys", admin, Some(&body)).await?;
    let key = made.expect(200)?["api_key"].as_str().unwrap_or_default().to_owned();
    scene.drayage.webhook = scene.drayage.webhook_apart(&key).await?;
    scene.drayage.webhook.ready().await?;
    let (drayage, body) = (&scene.drayage, scene.own_push());
    drayage.compile(&scene.algorithm, &body).await?;
    drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;
    let tag = format!(":{COMMIT}");
    let (pod, routed) = (scene.pod("runners", &tag), scene.routed(&tag));
    runs(drayage, &pod, &routed).await?;
    Ok((pod, routed, key))
}

/// Waits until a pod is admitted with this image.
async fn runs(drayage: &Drayage, pod: &Value, expected: &str) -> Result<()> {
    eventually("the route", async || {
        let image = drayage.admit(pod).await?.pod["spec"]["containers"][0]["image"].clone();
        ensure!(image == expected, "{image}");
        Ok(())
    })
    .await
}

#[test]
fn a_webhook_elsewhere_follows_the_api_and_goes_on_without_it() {
    prove(async {
        let mut scene = Scene::start().await?;
        let (pod, routed, key) = routed_apart(&mut scene).await?;
        let drayage = &mut scene.drayage;
        drayage.api.kill()?;
        drayage.syncer.kill()?;
        eventually("the note that the api is gone", async || {
            match drayage.webhook.admin("/readyz").await? {
                (200, text) if text.contains("may be out of date") => Ok(()),
                (status, text) => bail!("{status}: {text}"),
            }
        })
        .await?;
        let image = drayage.admit(&pod).await?.pod["spec"]["containers"][0]["image"].clone();
        ensure!(image == routed.as_str(), "{image}");
        // Another one knows nothing, and an empty table is no answer.
        let anew = drayage.webhook.beside().await?;
        let (status, text) = anew.admin("/readyz").await?;
        ensure!(status == 503, "{status}: {text}");
        ensure!(!drayage.webhook.log().contains(&key), "the key is in the log");
        Ok(())
    });
}

#[test]
fn a_webhook_elsewhere_reads_all_routes_again_when_a_backup_was_restored_behind_the_api() {
    prove(async {
        let mut scene = Scene::start().await?;
        let (pod, routed, _) = routed_apart(&mut scene).await?;
        let drayage = &mut scene.drayage;
        drayage.syncer.terminate().await?;
        drayage.api.terminate().await?;
        let (database, backup) = (drayage.file("drayage.db"), drayage.file("backup.db"));
        Connection::open(&database)?.execute("VACUUM INTO ?1", [backup.to_string_lossy()])?;
        drayage.api.restart_there().await?;
        let path = format!("/v1/registries/{}", scene.registry);
        drayage.call(Method::DELETE, &path, &drayage.admin_key, None).await?.expect(200)?;
        let source = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        runs(drayage, &pod, source).await?;
        drayage.api.terminate().await?;
        for suffix in ["-wal", "-shm"] {
            let _absent = fs::remove_file(drayage.file(&format!("drayage.db{suffix}")));
        }
        fs::rename(&backup, &database)?;
        // As if others had written before the webhook looks again.
        Connection::open(&database)?.execute("UPDATE instance SET revision = revision + 1000", ())?;
        drayage.api.restart_there().await?;
        runs(drayage, &pod, &routed).await
    });
}

#[test]
fn a_key_that_may_not_read_routes_is_told_with_what_to_do() {
    prove(async {
        let scene = Scene::start().await?;
        let webhook = scene.drayage.webhook_apart(&scene.algorithm.key).await?;
        eventually("the refusal", async || match webhook.admin("/readyz").await? {
            (503, text) if text.contains("RouteReaderKey") => Ok(()),
            (status, text) => bail!("{status}: {text}"),
        })
        .await
    });
}
