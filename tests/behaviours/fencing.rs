//! One destination reference has one writer: of two syncers on one database, of one that was stopped for
//! longer than its lease and goes on, and of none once the registry is deleted or has moved.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::claim::eventually;
use harness::faults::{Fault, Setup, any, get, on_stage, put};
use harness::image::Image;
use harness::registry::Registry;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

/// How soon a running push notices that it is no longer wanted; far below a third of its lease.
const SOON: Duration = Duration::from_secs(3);

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

#[test]
fn upload_under_way_to_a_registry_that_is_deleted_or_moved_ends_soon_and_tags_nothing() {
    on_stage(Setup::default(), async |stage| {
        let size = 1 << 20;
        let other = Registry::with_logins(vec![stage.reader.clone()]).await?;
        let moved = json!({
            "registry_url": other.url(),
            "registry_username": stage.reader.username,
            "registry_password": stage.reader.password,
        });
        for (method, body) in [(Method::PUT, Some(moved)), (Method::DELETE, None)] {
            let name = method.as_str().to_lowercase();
            let url = format!("{}/{name}", stage.to.url());
            let registry = stage.drayage.register(&url, Some(&stage.reader)).await?;
            let built = stage.build(Image::builder().random_layer(size)?.finish()?).await?;
            let layer = || put(format!("/v2/{name}/*")).larger_than(size as u64 / 2);
            stage.to.once(layer(), Fault::StallRequest(1000));
            stage.ask_for(&built, &registry, &stage.pusher).await?;
            // Once its progress is written down there is nothing to write about it for a third of the lease.
            eventually("the upload to be under way", async || {
                ensure!(stage.to.count(&layer()) == 1, "{}", stage.to.transcript());
                let status = stage.drayage.status(&stage.algorithm, &built.hash, &registry).await?;
                ensure!(status["bytes_done"].as_u64() > Some(0), "{status}");
                Ok(())
            })
            .await?;

            let (path, key) = (format!("/v1/registries/{registry}"), &stage.drayage.admin_key);
            stage.drayage.call(method, &path, key, body.as_ref()).await?.expect(200)?;
            let unwanted = Instant::now();
            let letting_go = format!("/{name}/{}", stage.algorithm.repository());
            eventually("the push to let go", async || {
                let log = stage.drayage.syncer.log();
                let lost =
                    log.lines().any(|line| line.contains("lost the lease") && line.contains(&letting_go));
                ensure!(lost, "it goes on");
                Ok(())
            })
            .await?;
            ensure!(unwanted.elapsed() < SOON, "noticed after {:?}", unwanted.elapsed());

            stage.to.forget();
            let another = stage.build(Image::small()?).await?;
            stage.push(&another).await?.succeeded_after(1)?;
            let late = stage.to.seen(&any(format!("/v2/{name}/*")));
            ensure!(late.is_empty(), "it went on: {late:?}");
            let repository = format!("{name}/{}", stage.algorithm.repository());
            ensure!(stage.enterprise.manifest(&repository, &built.hash).await?.is_none());
            let status = stage.drayage.statuses(&stage.algorithm, &built.hash).await?;
            ensure!(status[0]["reason"] == "registry_changed", "{status:?}");
        }
        Ok(())
    });
}
