//! Pushed means pullable: a destination that scans first, and READ credentials that cannot pull.

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::faults::{Built, Reply, Rule, Setup, Stage, answer, change, get, head, on_stage};
use harness::image::Image;
use serde_json::json;

/// Where a pod runs from that asks for the image in the source registry.
async fn runs_from(stage: &Stage, built: &Built) -> Result<String> {
    let image = format!("{}/{}:{}", stage.from.host(), stage.algorithm.repository(), built.hash);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "runner", "namespace": "runners"},
        "spec": {"containers": [{"name": "runner", "image": image}]},
    });
    let pod = stage.drayage.admit(&pod).await?.pod;
    Ok(pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned())
}

async fn is_routed(stage: &Stage, built: &Built) -> Result<()> {
    let host = stage.to.host();
    eventually("the route", async || {
        let image = runs_from(stage, built).await?;
        ensure!(image.starts_with(&host), "it runs from {image}");
        Ok(())
    })
    .await
}

async fn is_not_routed(stage: &Stage, built: &Built) -> Result<()> {
    let image = runs_from(stage, built).await?;
    ensure!(image.starts_with(&stage.from.host()), "it runs from {image}");
    Ok(())
}

/// Shows nobody what lies there, as Harbor and others do while a scan is not over.
fn withheld(stage: &Stage, refusal: Reply) -> [Rule; 2] {
    let withhold = move |reply: &mut Reply| {
        if reply.status == 200 {
            *reply = refusal.clone();
        }
    };
    let withhold = change(withhold);
    [get("*/manifests/*"), head("*/manifests/*")].map(|when| stage.to.always(when, withhold.clone()))
}

fn scanning() -> [Reply; 2] {
    let severe = "current image with 3 vulnerabilities cannot be pulled due to configured policy in 'Prevent \
                  images with vulnerability severity of High or higher from running.'";
    [
        answer(412).error("PROJECTPOLICYVIOLATION", severe),
        answer(403).error("DENIED", "the image is quarantined until its scan is over"),
    ]
}

#[test]
fn image_that_is_being_scanned_is_waited_for_and_then_routed() {
    on_stage(Setup { tries: 9, ..Setup::default() }, async |stage| {
        for refusal in scanning() {
            let built = stage.build(Image::small()?).await?;
            let scan = withheld(stage, refusal);
            stage.ask(&built).await?;
            stage.waits(&built, "scan_blocked").await?;
            is_not_routed(stage, &built).await?;
            scan.iter().for_each(Rule::off);
            stage.over(&built).await?.succeeded()?;
            is_routed(stage, &built).await?;
        }
        Ok(())
    });
}

#[test]
fn scan_that_is_never_over_ends_with_the_tries() {
    on_stage(Setup::default(), async |stage| {
        for refusal in scanning() {
            let built = stage.build(Image::small()?).await?;
            let scan = withheld(stage, refusal);
            stage.push(&built).await?.unproven_after(3, "scan_blocked")?;
            is_not_routed(stage, &built).await?;
            scan.iter().for_each(Rule::off);
        }
        Ok(())
    });
}

#[test]
fn image_that_the_reading_login_cannot_pull_is_not_routed() {
    on_stage(Setup::default(), async |stage| {
        let unreadable = stage.build(Image::small()?).await?;
        stage.enterprise.admit(vec![stage.pusher.clone()])?;
        stage.push(&unreadable).await?.unproven_after(1, "not_pullable")?.says("READ credentials")?;
        stage.enterprise.admit(vec![stage.reader.clone(), stage.pusher.clone()])?;
        let readable = stage.build(Image::small()?).await?;
        stage.push(&readable).await?.succeeded_after(1)?;
        // The webhook has seen what came later, and so what came before.
        is_routed(stage, &readable).await?;
        is_not_routed(stage, &unreadable).await?;
        stage.push(&unreadable).await?.succeeded_after(1)?;
        is_routed(stage, &unreadable).await
    });
}
