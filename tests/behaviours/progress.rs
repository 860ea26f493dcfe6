//! How far a push has come is seen while it runs.

use anyhow::{Context, ensure};
use harness::claim::eventually;
use harness::faults::{Fault, Setup, get, on_stage};
use harness::image::Image;

const LAYER: usize = 1 << 20;

#[test]
fn bytes_of_a_running_push_move_in_its_status() {
    on_stage(Setup::default(), async |stage| {
        let image = (0..2).try_fold(Image::builder(), |image, _| image.random_layer(LAYER))?.finish()?;
        let built = stage.build(image).await?;
        let last = &built.image.blobs.last().context("a layer")?.digest;
        stage.from.always(get(format!("*/blobs/{last}")), Fault::StallAnswer(LAYER as u64 / 2));
        stage.ask(&built).await?;
        let shown = eventually("one layer and a half", async || {
            let status = stage.status(&built).await?;
            let (done, total) = (status["bytes_done"].as_u64(), status["bytes_total"].as_u64());
            let (done, total) = (done.context("bytes done")?, total.context("bytes in all")?);
            ensure!(status["status"] == "in-progress" && done > LAYER as u64 && done < total, "{status}");
            Ok(total)
        });
        let total = shown.await?;
        ensure!(total > 2 * LAYER as u64, "{total} bytes in all");
        let page = stage.drayage.syncer.admin("/metrics").await?.1;
        let flying = page.lines().find_map(|line| line.strip_prefix("drayage_push_bytes_in_flight "));
        ensure!(flying.is_some_and(|bytes| bytes != "0"), "{flying:?} bytes in flight");
        Ok(())
    });
}
