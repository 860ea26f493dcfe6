//! Images that are not what they should be: other bytes, other kinds, missing parts, too much of it.

use anyhow::{Result, ensure};
use bytes::Bytes;
use harness::faults::{Built, Proxy, Setup, Stage, answer, any, change, get, on_stage};
use harness::image::{Family, Image, digest};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn blob_with_other_bytes_is_named_and_nothing_is_tagged() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let layer = &built.image.blobs[1].digest;
        stage.from.always(get(format!("*/blobs/{layer}")), change(|reply| reply.body[0] ^= 1));
        stage.push(&built).await?.failed_after(1, "source_corrupt")?.says(layer)?;
        Ok(())
    });
}

#[test]
fn what_only_the_network_has_changed_is_read_again() {
    on_stage(Setup::default(), async |stage| {
        // That the bytes of a blob are others only the destination finds out, and that ends the try.
        for (when, tries) in [(get("*/manifests/sha256:*"), 1), (get("*/blobs/*"), 2)] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.from.once(when, change(|reply| reply.body[0] ^= 1));
            stage.push(&built).await?.succeeded_after(tries)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn manifest_with_other_bytes_is_named_and_nothing_is_tagged() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::two_platforms(Family::Docker)?).await?;
        let child = built.image.children[1].digest.clone();
        stage.from.always(get(format!("*/manifests/{child}")), change(|reply| reply.body.push(b' ')));
        stage.push(&built).await?.failed_after(1, "source_corrupt")?.says(&child)?;
        Ok(())
    });
}

#[test]
fn destination_that_gives_another_manifest_back_proves_nothing_however_often() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.to.always(get("*/manifests/sha256:*"), change(|reply| reply.body.push(b' ')));
        stage.push(&built).await?.unproven_after(3, "destination_unreachable")?.says(&built.image.digest)?;
        Ok(())
    });
}

/// Has the source show a manifest that a registry would not take, under its digest and perhaps a tag.
fn show(stage: &Stage, tag: Option<&str>, media_type: &str, manifest: &Value) -> Result<String> {
    let bytes = serde_json::to_vec(manifest)?;
    let digest = digest(&bytes);
    let reply =
        answer(200).with("content-type", media_type).with("docker-content-digest", &digest).body(bytes);
    for reference in [Some(digest.as_str()), tag].into_iter().flatten() {
        stage.from.always(get(format!("*/manifests/{reference}")), reply.clone());
    }
    Ok(digest)
}

#[test]
fn manifest_of_an_unknown_kind_is_unsupported() {
    on_stage(Setup::default(), async |stage| {
        let artifact = "application/vnd.oci.artifact.manifest.v1+json";
        let child = json!({"mediaType": artifact, "artifactType": "a/b", "blobs": []});
        let child = show(stage, None, artifact, &child)?;
        let child = json!({"mediaType": artifact, "digest": child, "size": 7,
                           "platform": {"os": "linux", "architecture": "riscv64"}});
        let (tag, index) =
            (stage.tag(), json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}));
        show(stage, Some(&tag), INDEX, &index)?;
        let built = stage.compile(&tag, Image::small()?).await?;
        stage.push(&built).await?.failed_after(1, "unsupported")?.says(artifact)?;
        Ok(())
    });
}

#[test]
fn index_that_names_a_missing_child_is_missing_something() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::two_platforms(Family::Oci)?).await?;
        let child = built.image.children[1].digest.clone();
        stage.source.delete(&stage.algorithm.repository(), &child).await?;
        stage.push(&built).await?.failed_after(1, "source_missing")?;
        Ok(())
    });
}

#[test]
fn index_that_tells_another_size_of_a_child_is_corrupt() {
    on_stage(Setup::default(), async |stage| {
        let mut image = Image::two_platforms(Family::Oci)?;
        let child = image.children[1].digest.clone();
        let mut index: Value = serde_json::from_slice(&image.manifest)?;
        index["manifests"][1]["size"] = json!(image.children[1].manifest.len() + 1);
        image.manifest = Bytes::from(serde_json::to_vec(&index)?);
        image.digest = digest(&image.manifest);
        let built = stage.build(image).await?;
        stage.push(&built).await?.failed_after(1, "source_corrupt")?.says(&child)?;
        Ok(())
    });
}

#[test]
fn blob_that_is_missing_is_missing() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let layer = &built.image.blobs[1].digest;
        stage.from.always(any(format!("*/blobs/{layer}")), answer(404).error("BLOB_UNKNOWN", "blob unknown"));
        stage.push(&built).await?.failed_after(1, "source_missing")?;
        Ok(())
    });
}

#[test]
fn index_inside_an_index_arrives_with_everything_below_it() {
    on_stage(Setup::default(), async |stage| {
        let inner = Image::two_platforms(Family::Oci)?;
        stage.source.push(&inner, &stage.algorithm.repository(), &inner.digest).await?;
        let outer = Image::index(Family::Oci, vec![inner.clone(), Image::small()?])?;
        let built = stage.build(outer).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        stage.enterprise.holds(&inner, &stage.repository(), &inner.digest).await
    });
}

#[test]
fn manifest_over_the_size_limit_is_too_large() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let larger = change(|reply| reply.body.resize((4 << 20) + 1, b' '));
        stage.from.always(get(format!("*/manifests/{}", built.image.digest)), larger);
        stage.push(&built).await?.failed_after(1, "too_large")?.says("Drayage takes")?;
        Ok(())
    });
}

/// An image with a layer that lies somewhere else and may not be handed on.
async fn with_foreign_layer(stage: &Stage, urls: &[String]) -> Result<Built> {
    let mut image = Image::builder().family(Family::Docker).random_layer(1000)?.finish()?;
    let mut manifest: Value = serde_json::from_slice(&image.manifest)?;
    let foreign = json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "size": 5000, "digest": digest(b"it lies elsewhere"), "urls": urls,
    });
    manifest["layers"].as_array_mut().expect("layers").insert(0, foreign);
    image.manifest = Bytes::from(serde_json::to_vec_pretty(&manifest)?);
    image.digest = digest(&image.manifest);
    stage.build(image).await
}

#[test]
fn foreign_layer_is_neither_fetched_nor_missed() {
    on_stage(Setup::default(), async |stage| {
        let elsewhere = Proxy::alone().await?;
        let built = with_foreign_layer(stage, &[format!("{}/layer", elsewhere.url())]).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        ensure!(elsewhere.count(&any("*")) == 0, "{}", elsewhere.transcript());
        let foreign = format!("*{}*", digest(b"it lies elsewhere"));
        ensure!(stage.from.count(&any(&foreign)) == 0, "asked of the source");
        Ok(())
    });
}
