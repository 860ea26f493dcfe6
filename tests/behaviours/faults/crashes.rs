//! A push that was killed in the middle moves only what is missing, counted in bytes.

use anyhow::{Context, ensure};
use harness::claim::eventually;
use harness::faults::{Fault, Setup, on_stage, put};
use harness::image::Image;

const LAYERS: usize = 6;
const SIZE: usize = 1 << 20;

#[test]
fn killed_push_moves_only_what_is_missing() {
    let setup = Setup { syncer: &["--lease", "1s"], ..Setup::default() };
    on_stage(setup, async |stage| {
        let image = (0..LAYERS).try_fold(Image::builder(), |image, _| image.random_layer(SIZE))?.finish()?;
        let built = stage.build(image).await?;
        let missing = built.image.blobs.last().context("a layer")?;
        let upload = |digest: &str| put(format!("*digest={}", digest.replace(':', "%3A")));
        stage.to.always(upload(&missing.digest), Fault::StallRequest(1000));
        stage.ask(&built).await?;
        eventually("all layers but one", async || {
            let done = stage.to.seen(&put("*/blobs/*")).iter().filter(|seen| seen.status == 201).count();
            ensure!(done == built.image.blobs.len() - 1, "{done} blobs are there");
            ensure!(stage.to.count(&upload(&missing.digest)) == 1, "the last one is not under way");
            Ok(())
        })
        .await?;
        stage.drayage.syncer.kill()?;
        stage.to.behave();
        stage.to.forget();
        stage.drayage.syncer.restart().await?;
        stage.over(&built).await?.succeeded_after(2)?;
        let sent = stage.to.bytes_sent(&put("*/blobs/*"));
        ensure!(sent == SIZE as u64, "{sent} bytes of blobs were sent for {SIZE}");
        Ok(())
    });
}
