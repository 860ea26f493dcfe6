//! Mounts that are not made: whatever the registry answers, the blob is uploaded instead.

use anyhow::{Result, ensure};
use harness::faults::{Setup, Stage, When, answer, on_stage, post, put};
use harness::image::Image;
use reqwest::Method;

/// Pushes an image, then asks for the same one in the repository of another algorithm.
async fn again_elsewhere(stage: &mut Stage, name: &str) -> Result<Image> {
    let image = Image::small()?;
    let built = stage.build(image.clone()).await?;
    stage.push(&built).await?.succeeded_after(1)?;
    stage.algorithm = stage.drayage.algorithm("ada", name).await?;
    stage.to.forget();
    Ok(image)
}

/// A mount from the repository of the first algorithm.
fn mount() -> When {
    post("*/blobs/uploads/?*mount=*primes*")
}

#[test]
fn layer_that_lies_in_another_repository_is_mounted() {
    on_stage(Setup::default(), async |stage| {
        let image = again_elsewhere(stage, "twins").await?;
        let built = stage.build(image).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        ensure!(stage.to.bytes_sent(&put("*/blobs/*")) == 0, "uploaded instead of mounted");
        Ok(())
    });
}

#[test]
fn mount_that_is_refused_becomes_an_upload() {
    on_stage(Setup::default(), async |stage| {
        for (status, name) in [(401, "twins"), (404, "cousins"), (500, "strangers")] {
            let image = again_elsewhere(stage, name).await?;
            let rule = stage.to.always(post("*/blobs/uploads/?*mount=*from=*"), answer(status));
            let built = stage.build(image.clone()).await?;
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() >= image.blobs.len() as u64, "{rule:?}");
            rule.off();
        }
        Ok(())
    });
}

#[test]
fn mount_of_what_is_gone_becomes_the_upload_that_the_registry_offers() {
    on_stage(Setup::default(), async |stage| {
        let (repository, image) = (stage.repository(), again_elsewhere(stage, "twins").await?);
        for blob in &image.blobs {
            let path = format!("{repository}/blobs/{}", blob.digest);
            let deleted = stage.enterprise.request(Method::DELETE, &path).send().await?;
            ensure!(deleted.status() == 202, "{path}: {}", deleted.status());
        }
        let built = stage.build(image.clone()).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        let offered = stage.to.seen(&mount());
        ensure!(offered.len() == image.blobs.len(), "{offered:?}");
        ensure!(offered.iter().all(|seen| seen.status == 202), "{offered:?}");
        ensure!(stage.to.count(&post("*/blobs/uploads/*")) == image.blobs.len(), "uploads were opened anew");
        Ok(())
    });
}
