//! A registry in front of which a token service stands: tokens that run out in the middle of a transfer,
//! a service that is down, and one that answers nonsense.

use anyhow::{Result, ensure};
use harness::faults::{Proxy, Reply, Setup, Stage, answer, any, get, on_stage, post, put};
use harness::image::Image;
use serde_json::json;

const OPEN: Setup<'static> = Setup { tries: 3, syncer: &[], open: true, trusted: None, disk: None };

/// Has the destination ask for tokens of a service, which gives this one.
async fn token_service(stage: &Stage, token: &str) -> Result<Proxy> {
    let service = Proxy::alone().await?;
    stage.secret(token);
    service.always(get("/token*"), granted(token));
    let challenge = format!(r#"Bearer realm="{}/token",service="of-a-test""#, service.url());
    stage.to.always(any("*").without("authorization", "Bearer "), unauthorized(&challenge));
    Ok(service)
}

fn granted(token: &str) -> Reply {
    answer(200).body(json!({"token": token, "expires_in": 300}).to_string())
}

fn unauthorized(challenge: &str) -> Reply {
    answer(401).with("www-authenticate", challenge).error("UNAUTHORIZED", "authentication required")
}

#[test]
fn token_that_runs_out_in_the_middle_of_a_transfer_costs_no_try() {
    on_stage(OPEN, async |stage| {
        let service = token_service(stage, "token-that-is-good-for-a-while").await?;
        let challenge = format!(r#"Bearer realm="{}/token",error="invalid_token""#, service.url());
        for when in [post("*"), put("*/blobs/uploads/*").larger_than(0), put("*/manifests/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.once(when, unauthorized(&challenge));
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn token_service_that_is_down_is_named_and_waited_for() {
    on_stage(OPEN, async |stage| {
        let mut service = token_service(stage, "token-of-a-service-that-was-down").await?;
        service.shut().await;
        let built = stage.build(Image::small()?).await?;
        stage.ask(&built).await?;
        stage.waits(&built, "token_service").await?;
        service.open().await?;
        stage.over(&built).await?.succeeded()?;
        Ok(())
    });
}

#[test]
fn token_service_that_answers_nonsense_is_named_as_such() {
    on_stage(Setup { tries: 1, ..OPEN }, async |stage| {
        let nonsense = [
            answer(200).body("<html>welcome</html>"),
            answer(200).body("{}"),
            answer(200).body(r#"{"token": 7}"#),
            answer(500).body("out of order"),
        ];
        let service = token_service(stage, "token-that-is-never-given").await?;
        for answer in nonsense {
            service.behave();
            service.always(get("/token*"), answer);
            let built = stage.build(Image::small()?).await?;
            stage.push(&built).await?.failed_after(1, "token_service")?.says(&service.host())?;
        }
        Ok(())
    });
}
