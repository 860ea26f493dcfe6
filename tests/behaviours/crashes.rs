//! The syncer is killed at any instant while it pushes: every push ends right, and no manifest is
//! ever visible before what it names.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::claim::{eventually, prove};
use harness::image::Image;
use harness::scene::Scene;
use serde_json::json;

const IMAGES: usize = 10;
/// `DRAYAGE_KILLS=50 cargo test crashes` is the long form.
const KILLS: u8 = 10;

/// So many milliseconds as nobody could have foreseen.
fn instant() -> Result<Duration> {
    let mut byte = [0];
    getrandom::fill(&mut byte)?;
    Ok(Duration::from_millis(byte[0].into()))
}

#[test]
fn killed_syncer_leaves_no_push_behind() {
    prove(async {
        let flags = ["--lease", "1s", "--max-tries", "100"];
        let mut scene = Scene::start_with(|drayage| drayage.syncer(&flags)).await?;
        let mut versions = Vec::new();
        for number in 0..IMAGES {
            let image = Image::builder().random_layer(4 << 20)?.random_layer(1 << 20)?.finish()?;
            let tag = format!("build-{number}");
            scene.source.push(&image, &scene.algorithm.repository(), &tag).await?;
            let mut body = scene.stored_push();
            body["commitSha"] = json!(tag);
            versions.push((scene.drayage.compile(&scene.algorithm, &body).await?, image));
        }
        let kills = std::env::var("DRAYAGE_KILLS").map_or(Ok(KILLS), |kills| kills.parse())?;
        for _ in 0..kills {
            // The claim is about any instant, so the instant is not chosen.
            tokio::time::sleep(instant()?).await;
            scene.drayage.syncer.kill()?;
            for (hash, image) in &versions {
                if scene.enterprise.manifest(&scene.repository(), hash).await?.is_some() {
                    scene.enterprise.holds(image, &scene.repository(), hash).await?;
                }
            }
            scene.drayage.syncer.restart().await?;
        }
        for (hash, image) in &versions {
            let status = scene.drayage.pushed(&scene.algorithm, hash, &scene.registry).await?;
            ensure!(status["digest"] == image.digest, "{status}");
            scene.enterprise.holds(image, &scene.repository(), hash).await?;
        }
        eventually("no push to be in progress", async || {
            let (_, page) = scene.drayage.syncer.admin("/metrics").await?;
            ensure!(page.contains("drayage_pushes{status=\"in-progress\"} 0"), "{page}");
            Ok(())
        })
        .await
    });
}
