//! What was lost at the destination behind our back: a push that is asked for again finds it out and mends it.

use std::fs::{self, File};

use anyhow::{Context, Result, ensure};
use harness::faults::{Setup, Stage, any, head, on_stage, put};
use harness::image::{Family, Image};
use reqwest::Method;

/// Takes a blob away, while every manifest that names it stays.
async fn lose(stage: &Stage, digest: &str) -> Result<()> {
    let path = format!("{}/blobs/{digest}", stage.repository());
    stage.enterprise.request(Method::DELETE, &path).send().await?.error_for_status()?;
    Ok(())
}

#[test]
fn push_asked_for_again_brings_a_blob_that_was_lost_and_nothing_else() {
    on_stage(Setup::default(), async |stage| {
        let image = Image::two_platforms(Family::Oci)?;
        let built = stage.build(image.clone()).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        let child = image.children.last().context("a platform")?;
        for lost in &child.blobs {
            lose(stage, &lost.digest).await?;
            stage.to.forget();
            stage.push(&built).await?.succeeded_after(1)?;
            let sent = stage.to.bytes_sent(&put("*/blobs/*"));
            ensure!(sent == lost.bytes.len() as u64, "{sent} bytes were sent for {}", lost.bytes.len());
        }
        Ok(())
    });
}

#[test]
fn push_asked_for_again_brings_a_platform_that_was_lost() {
    on_stage(Setup::default(), async |stage| {
        let image = Image::two_platforms(Family::Docker)?;
        let built = stage.build(image.clone()).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        let child = image.children.last().context("a platform")?;
        stage.enterprise.delete(&stage.repository(), &child.digest).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        Ok(())
    });
}

#[test]
fn push_asked_for_again_tells_of_a_blob_that_was_cut_short_and_succeeds_when_it_is_deleted() {
    on_stage(Setup { tries: 20, ..Setup::default() }, async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        let cut = built.image.blobs.last().context("a layer")?;
        let file = stage.enterprise.blob_file(&cut.digest)?;
        // A disk that was full leaves files without a byte behind.
        for bytes in [cut.bytes.len() as u64 / 2, 0] {
            File::options().write(true).open(&file)?.set_len(bytes)?;
            stage.ask(&built).await?;
            let waiting = stage.waits(&built, "destination_unreachable").await?;
            let message = waiting["status_message"].as_str().unwrap_or_default();
            ensure!(message.contains(&cut.digest) && message.contains("is damaged"), "{waiting}");
            fs::remove_file(&file)?;
            stage.over(&built).await?.succeeded()?;
        }
        Ok(())
    });
}

#[test]
fn push_of_what_is_there_costs_two_questions_and_asked_for_again_one_more_for_each_blob() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.enterprise.push(&built.image, &stage.repository(), &built.hash).await?;
        for (blobs, is_again) in [(0, false), (built.image.blobs.len(), true)] {
            stage.to.forget();
            stage.from.forget();
            stage.push(&built).await?.succeeded_after(1)?;
            let (all, of_blobs) = (stage.to.count(&any("*")), stage.to.count(&head("*/blobs/*")));
            ensure!((all, of_blobs) == (2 + blobs, blobs), "again {is_again}: {}", stage.to.transcript());
            ensure!(stage.from.count(&any("*")) == 0, "asked of the source: {}", stage.from.transcript());
        }
        Ok(())
    });
}
