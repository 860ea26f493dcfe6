//! Connections that are refused, reset and cut short, before and in the middle of bodies, both ways.

use anyhow::{Context, Result, ensure};
use harness::faults::{Fault, Setup, Stage, When, get, head, on_stage, patch, post, put};
use harness::image::Image;

const SIZE: u64 = 1 << 20;
const BREAK: u64 = 300_000;

fn image() -> Result<Image> {
    Image::builder().random_layer(SIZE as usize)?.finish()
}

/// The PUT that carries the layer.
fn layer() -> When {
    put("*/blobs/uploads/*").larger_than(SIZE / 2)
}

/// The GET of the layer.
fn read(image: &Image) -> When {
    get(format!("*/blobs/{}", image.blobs[1].digest))
}

#[test]
fn refused_connection_costs_no_try() {
    on_stage(Setup { tries: 1, ..Setup::default() }, async |stage| {
        let built = stage.build(image()?).await?;
        stage.to.shut().await;
        stage.ask(&built).await?;
        let waiting = stage.waits(&built, "destination_unreachable").await?;
        let message = waiting["status_message"].as_str().context("a message")?;
        ensure!(message.contains("refused"), "{message}");
        stage.to.open().await?;
        stage.over(&built).await?.succeeded()?;
        Ok(())
    });
}

#[test]
fn refused_connection_to_the_source_is_tried_again() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(image()?).await?;
        stage.from.shut().await;
        stage.push(&built).await?.failed_after(3, "source_unreachable")?;
        stage.from.open().await?;
        stage.push(&built).await?.succeeded_after(1)?;
        Ok(())
    });
}

#[test]
fn request_that_is_reset_before_it_is_read_is_sent_again() {
    on_stage(Setup::default(), async |stage| {
        for when in [head("*"), post("*"), layer(), put("*/manifests/*"), get("*/manifests/*")] {
            let built = stage.build(image()?).await?;
            let rule = stage.to.once(when, Fault::ResetRequest(0));
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        for when in [get("*/manifests/sha256:*"), get("*/blobs/*")] {
            let built = stage.build(image()?).await?;
            let rule = stage.from.once(when, Fault::ResetRequest(0));
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn upload_that_is_reset_in_the_middle_costs_a_second_upload_and_no_try() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(image()?).await?;
        stage.to.once(layer(), Fault::ResetRequest(BREAK));
        stage.push(&built).await?.succeeded_after(1)?;
        let sent = stage.to.bytes_sent(&put("*/blobs/*")) + stage.to.bytes_sent(&patch("*"));
        ensure!(sent < SIZE + BREAK + 10_000, "{sent} bytes were sent");
        Ok(())
    });
}

#[test]
fn answer_that_is_lost_costs_no_second_upload() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(image()?).await?;
        stage.to.once(layer(), Fault::LoseAnswer);
        stage.to.once(put("*/manifests/*"), Fault::LoseAnswer);
        stage.push(&built).await?.succeeded_after(1)?;
        let sent = stage.to.bytes_sent(&put("*/blobs/*"));
        ensure!(sent < SIZE + 10_000, "{sent} bytes were sent");
        Ok(())
    });
}

fn goes_on_by_range(stage: &Stage, image: &Image) -> Result<()> {
    let reads = stage.from.seen(&read(image));
    let range = reads.last().and_then(|read| read.header("range"));
    ensure!(reads.len() == 2 && range.is_some_and(|range| range != "bytes=0-"), "{reads:?}");
    let uploads = stage.to.seen(&layer());
    ensure!(uploads.len() == 1, "the upload did not go on: {uploads:?}");
    Ok(())
}

#[test]
fn download_that_is_reset_in_the_middle_goes_on_by_range_in_the_same_upload() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(image()?).await?;
        stage.from.once(read(&built.image), Fault::ResetAnswer(BREAK));
        stage.push(&built).await?.succeeded_after(1)?;
        goes_on_by_range(stage, &built.image)
    });
}

#[test]
fn download_that_is_cut_short_is_completed_and_no_byte_comes_twice() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(image()?).await?;
        stage.from.once(read(&built.image), Fault::CutAnswer(BREAK));
        stage.push(&built).await?.succeeded_after(1)?;
        goes_on_by_range(stage, &built.image)?;
        let received = stage.from.bytes_received(&read(&built.image));
        ensure!(received == SIZE, "{received} bytes came for {SIZE}");
        Ok(())
    });
}

#[test]
fn download_that_stalls_holds_up_no_other_push_and_goes_on_when_the_line_is_cut() {
    on_stage(Setup::default(), async |stage| {
        let stalled = stage.build(image()?).await?;
        stage.from.once(read(&stalled.image), Fault::StallAnswer(BREAK));
        stage.ask(&stalled).await?;
        let other = stage.build(Image::small()?).await?;
        stage.push(&other).await?.succeeded_after(1)?;
        let status = stage.status(&stalled).await?;
        ensure!(status["status"] == "in-progress", "{status}");
        stage.from.shut().await;
        stage.from.open().await?;
        stage.over(&stalled).await?.succeeded_after(1)?;
        goes_on_by_range(stage, &stalled.image)
    });
}

#[test]
fn download_that_never_gets_on_is_the_sources_failure() {
    on_stage(Setup { tries: 1, ..Setup::default() }, async |stage| {
        let built = stage.build(image()?).await?;
        stage.from.always(read(&built.image), Fault::CutAnswer(0));
        stage.push(&built).await?.failed_after(1, "source_unreachable")?;
        Ok(())
    });
}

#[test]
fn manifest_that_is_cut_short_is_read_by_the_next_try() {
    on_stage(Setup::default(), async |stage| {
        let cuts = [
            (&stage.from, Fault::CutAnswer(10)),
            (&stage.to, Fault::CutAnswer(10)),
            (&stage.from, Fault::ResetAnswer(10)),
            (&stage.from, Fault::Announce(10)),
        ];
        for (proxy, cut) in cuts {
            let built = stage.build(image()?).await?;
            let rule = proxy.once(get("*/manifests/sha256:*"), cut);
            stage.push(&built).await?.succeeded_after(2)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn wrong_content_length_that_stays_is_a_source_that_serves_something_else() {
    on_stage(Setup::default(), async |stage| {
        for more in [100, -100] {
            let built = stage.build(image()?).await?;
            stage.from.always(read(&built.image), Fault::Announce(more));
            let digest = &built.image.blobs[1].digest;
            stage.push(&built).await?.failed_after(1, "source_corrupt")?.says(digest)?;
        }
        Ok(())
    });
}

#[test]
fn wrong_content_length_that_passes_costs_no_try() {
    on_stage(Setup::default(), async |stage| {
        let cases = [(get("*/blobs/*"), 100), (get("*/blobs/*"), -100), (get("*/manifests/sha256:*"), -100)];
        for (when, more) in cases {
            let built = stage.build(image()?).await?;
            let rule = stage.from.once(when, Fault::Announce(more));
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}
