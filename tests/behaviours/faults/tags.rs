//! Immutable tags: the same image again is a success, another one a conflict.

use anyhow::{Context, ensure};
use harness::faults::{Reply, Setup, answer, head, on_stage, put};
use harness::image::Image;

/// As ECR, Harbor and others say it.
fn refusals() -> [Reply; 3] {
    let text = "The image tag already exists in the repository and cannot be overwritten because the tag is immutable.";
    [
        answer(400).error("TAG_INVALID", text),
        answer(412).error("PRECONDITION", "Failed to process request due to 'x:y' configured as immutable."),
        answer(409).error("CONFLICT", "conflict"),
    ]
}

#[test]
fn immutable_tag_with_the_same_image_is_success() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        for refusal in refusals() {
            let tag = format!("*/manifests/{}", built.hash);
            let immutable = stage.to.always(put(&tag), refusal);
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(immutable.applied() == 0, "written again: {immutable:?}");
            // Somebody else was faster, between the look and the write.
            stage.to.once(head(&tag), answer(404));
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(immutable.applied() == 1, "{immutable:?}");
            immutable.off();
        }
        Ok(())
    });
}

#[test]
fn immutable_tag_with_another_image_is_a_conflict() {
    on_stage(Setup::default(), async |stage| {
        for refusal in refusals() {
            let (built, other) = (stage.build(Image::small()?).await?, Image::small()?);
            stage.enterprise.push(&other, &stage.repository(), &built.hash).await?;
            stage.to.always(put(format!("*/manifests/{}", built.hash)), refusal);
            stage.push(&built).await?.failed_after(1, "conflict")?;
            let kept = stage.enterprise.manifest(&stage.repository(), &built.hash).await?;
            let kept = kept.context("the tag")?.digest;
            ensure!(kept == other.digest, "the tag names {kept}");
        }
        Ok(())
    });
}
