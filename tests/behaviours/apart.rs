//! A webhook that is not beside the database follows the route feed of the api.

use anyhow::{bail, ensure};
use harness::claim::{eventually, prove};
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::json;

#[test]
fn a_webhook_elsewhere_follows_the_api_and_goes_on_without_it() {
    prove(async {
        let mut scene = Scene::start().await?;
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
        let drayage = &mut scene.drayage;
        eventually("the route", async || {
            let image = drayage.admit(&pod).await?.pod["spec"]["containers"][0]["image"].clone();
            ensure!(image == routed.as_str(), "{image}");
            Ok(())
        })
        .await?;

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
