//! Uploads that a registry, or a gateway in front of it, wants otherwise than in one PUT: every form of a
//! Location, and the fallbacks to PATCH and to chunks, remembered for their host.

use anyhow::{Result, ensure};
use harness::faults::{
    Fault, Reply, Setup, Stage, When, answer, change, on_stage, patch, post, put, relocate,
};
use harness::image::Image;

const MIB: usize = 1 << 20;

/// The PUTs that carry a blob.
fn whole() -> When {
    put("*/blobs/uploads/*").larger_than(0)
}

#[test]
fn location_may_be_relative_or_absolute_or_have_a_query() {
    on_stage(Setup::default(), async |stage| {
        let origin = stage.to.url();
        let path = move |location: &str| location.trim_start_matches(&origin).to_owned();
        let relative = path.clone();
        let forms = [
            relocate(move |location| Some(relative(location))),
            relocate(|location| Some(location.to_owned())),
            relocate(move |location| Some(format!("{}&more=a%2Bb%3D", path(location)))),
        ];
        for form in forms {
            stage.to.behave();
            let rule = stage.to.always(post("*/blobs/uploads/*"), form);
            let built = stage.build(Image::small()?).await?;
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() >= 3, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn upload_without_a_location_is_unsupported() {
    on_stage(Setup::default(), async |stage| {
        stage.to.always(post("*/blobs/uploads/*"), relocate(|_| None));
        let built = stage.build(Image::small()?).await?;
        stage.push(&built).await?.failed_after(1, "unsupported")?.says("Location")?;
        Ok(())
    });
}

#[test]
fn answer_to_what_was_written_needs_no_location() {
    on_stage(Setup::default(), async |stage| {
        stage.to.always(put("*"), relocate(|_| None));
        let built = stage.build(Image::two_platforms(harness::image::Family::Oci)?).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        Ok(())
    });
}

fn upload_unknown() -> Reply {
    answer(404).error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

/// Two pushes to a destination that takes no PUT with a body: the first finds out, the second knows.
async fn falls_back_to_patch(stage: &Stage, refusal: impl Into<Fault>) -> Result<()> {
    stage.to.always(whole(), refusal);
    for is_known in [false, true] {
        stage.to.forget();
        let built = stage.build(Image::small()?).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        let (puts, patches) = (stage.to.count(&whole()), stage.to.count(&patch("*")));
        ensure!((puts == 0) == is_known, "{puts} PUTs with a body");
        ensure!(patches == built.image.blobs.len(), "{patches} PATCHes");
    }
    Ok(())
}

#[test]
fn registry_that_knows_no_upload_without_a_patch_gets_one_and_is_remembered() {
    on_stage(Setup::default(), async |stage| falls_back_to_patch(stage, upload_unknown()).await);
}

#[test]
fn gateway_that_limits_a_put_gets_a_patch_and_is_remembered() {
    on_stage(Setup::default(), async |stage| falls_back_to_patch(stage, answer(413)).await);
}

#[test]
fn gateway_that_refuses_before_it_has_read_gets_a_patch_too() {
    on_stage(Setup::default(), async |stage| {
        falls_back_to_patch(stage, Fault::AnswerUnread(answer(413))).await
    });
}

/// What a gateway refuses that limits the bodies of all requests to so many bytes.
fn bodies_over(bytes: usize) -> [When; 2] {
    [put("*/blobs/*"), patch("*/blobs/*")].map(|when| when.larger_than(bytes as u64))
}

#[test]
fn gateway_that_limits_every_body_gets_chunks_as_small_as_it_takes_and_is_remembered() {
    on_stage(Setup::default(), async |stage| {
        // The second is nginx's own limit.
        for limit in [6 * MIB, MIB, MIB / 2] {
            stage.to.behave();
            for when in bodies_over(limit) {
                stage.to.always(when, answer(413));
            }
            for is_known in [false, true] {
                stage.to.forget();
                let built = stage.build(Image::builder().random_layer(12 * MIB)?.finish()?).await?;
                stage.push(&built).await?.succeeded_after(1)?;
                let refused: usize = bodies_over(limit).iter().map(|when| stage.to.count(when)).sum();
                ensure!((refused == 0) == is_known, "{refused} bodies over {limit}");
                let chunks = stage.to.count(&patch("*").larger_than(MIB as u64 / 4));
                ensure!(chunks >= 12 * MIB / limit, "{chunks} chunks under {limit}");
            }
        }
        Ok(())
    });
}

#[test]
fn chunks_are_never_smaller_than_the_registry_says_it_takes() {
    on_stage(Setup::default(), async |stage| {
        for when in bodies_over(MIB) {
            stage.to.always(when, answer(413));
        }
        let least = change(|reply| reply.set("oci-chunk-min-length", Some((2 * MIB).to_string())));
        stage.to.always(post("*/blobs/uploads/*"), least);
        let built = stage.build(Image::builder().random_layer(12 * MIB)?.finish()?).await?;
        stage.push(&built).await?.failed_after(1, "too_large")?;
        let sent = stage.to.seen(&patch("*"));
        let sizes: Vec<u64> = sent.iter().filter(|seen| seen.status == 413).map(|seen| seen.sent).collect();
        ensure!(sizes.iter().all(|size| *size >= 2 * MIB as u64), "{sizes:?}");
        Ok(())
    });
}

#[test]
fn upload_goes_on_from_where_the_registry_says_it_stands() {
    on_stage(Setup::default(), async |stage| {
        for when in bodies_over(6 * MIB) {
            stage.to.always(when, answer(413));
        }
        let size = 12 * MIB as u64;
        let chunk = || patch("*").larger_than(MIB as u64).nth(2);
        let breaks = [answer(416).into(), Fault::ResetRequest(0)];
        for breaks in breaks {
            let built = stage.build(Image::builder().random_layer(size as usize)?.finish()?).await?;
            stage.to.forget();
            let rule = stage.to.once(chunk(), breaks);
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
            let taken = stage.to.seen(&patch("*").larger_than(MIB as u64));
            let taken: u64 = taken.iter().filter(|seen| seen.status == 202).map(|seen| seen.sent).sum();
            ensure!(taken <= size, "{taken} bytes were taken of {size}");
        }
        Ok(())
    });
}

#[test]
fn upload_whose_place_the_registry_has_lost_begins_anew_and_costs_no_try() {
    on_stage(Setup::default(), async |stage| {
        for when in bodies_over(6 * MIB) {
            stage.to.always(when, answer(413));
        }
        let chunk = || patch("*").larger_than(MIB as u64).nth(2);
        // The registry has got on, and only its answer tells where the upload lies from now on.
        for breaks in [Fault::LoseAnswer, Fault::ResetRequest(MIB as u64)] {
            let built = stage.build(Image::builder().random_layer(12 * MIB)?.finish()?).await?;
            let rule = stage.to.once(chunk(), breaks);
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn blob_that_is_too_large_in_every_way_is_too_large() {
    on_stage(Setup::default(), async |stage| {
        for when in bodies_over(MIB / 4) {
            stage.to.always(when, answer(413));
        }
        let built = stage.build(Image::builder().random_layer(2 * MIB)?.finish()?).await?;
        stage.push(&built).await?.failed_after(1, "too_large")?;
        Ok(())
    });
}
