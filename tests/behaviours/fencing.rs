//! Two syncers on one database: one destination reference has one writer, and one that was stopped for
//! longer than its lease writes nothing when it goes on.

use anyhow::{Context, ensure};
use harness::claim::eventually;
use harness::faults::{Setup, any, get, on_stage, put};
use harness::image::Image;
use rustix::process::Signal;
use serde_json::json;

#[test]
fn syncer_that_was_stopped_beyond_its_lease_writes_nothing_when_it_goes_on() {
    on_stage(Setup { syncer: &["--lease", "1s"], ..Setup::default() }, async |stage| {
        let built = stage.build(Image::builder().random_layer(100_000)?.finish()?).await?;
        // What the source has been asked for comes when it goes on: then there is everything to write.
        stage.from.forget();
        stage.source.signal(Signal::STOP)?;
        stage.ask(&built).await?;
        eventually("the push to be under way", async || {
            ensure!(stage.from.count(&get("*/manifests/*")) == 1, "nothing is asked of the source");
            Ok(())
        })
        .await?;
        stage.drayage.syncer.signal(Signal::STOP)?;
        stage.source.signal(Signal::CONT)?;

        let mut other = stage.drayage.syncer.beside().await?;
        stage.over(&built).await?.succeeded_after(2)?;
        other.terminate().await?;

        stage.to.forget();
        stage.drayage.syncer.signal(Signal::CONT)?;
        eventually("the first to notice", async || {
            ensure!(stage.drayage.syncer.log().contains("lost the lease"), "it has not noticed");
            Ok(())
        })
        .await?;
        let again = stage.build(Image::small()?).await?;
        stage.push(&again).await?.succeeded_after(1)?;
        let late = stage.to.seen(&any(format!("*{}*", built.hash)));
        ensure!(late.is_empty(), "it went on: {late:?}");
        let (layer, image) = (built.image.blobs.last().context("a layer")?, &again.image);
        let ours = |uri: &str| image.blobs.iter().any(|blob| uri.contains(&blob.digest.replace(':', "%3A")));
        let written = stage.to.seen(&put("*/blobs/*"));
        ensure!(written.iter().all(|seen| ours(&seen.uri)), "{} was written late: {written:?}", layer.digest);
        ensure!(stage.status(&built).await?["status"] == "succeeded");
        Ok(())
    });
}

#[test]
fn two_syncers_on_one_database_never_push_the_same_twice() {
    on_stage(Setup::default(), async |stage| {
        let mut other = stage.drayage.syncer.beside().await?;
        let mut all = Vec::new();
        for _ in 0..12 {
            let tag = stage.tag();
            let image = Image::builder().random_layer(10_000)?.finish()?;
            stage.source.push(&image, &stage.algorithm.repository(), &tag).await?;
            let push = json!({"commitSha": tag, "registry_push_credentials": {
                "registry_id": stage.registry,
                "registry_username": stage.pusher.username,
                "registry_password": stage.pusher.password,
            }});
            all.push((stage.drayage.compile(&stage.algorithm, &push).await?, image));
        }
        for (hash, image) in &all {
            let status = stage.drayage.pushed(&stage.algorithm, hash, &stage.registry).await?;
            ensure!(status["attempts"] == 1 && status["digest"] == image.digest, "{status}");
            let written = stage.to.count(&put(format!("*/manifests/{hash}")));
            ensure!(written == 1, "the tag {hash} was written {written} times");
        }
        other.terminate().await?;
        Ok(())
    });
}
