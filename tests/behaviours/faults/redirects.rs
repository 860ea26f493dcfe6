//! Registries that lead elsewhere: to a storage, which gets no login; round in a circle; to another host
//! for an upload.

use anyhow::{Result, ensure};
use harness::faults::{Proxy, Setup, answer, any, get, head, on_stage, post, put, relocate};
use harness::image::Image;

/// The same machine under another name: another host.
fn elsewhere(proxy: &Proxy) -> String {
    proxy.url().replace("127.0.0.1", "localhost")
}

/// Nobody has told it who we are.
fn was_told_no_login(proxy: &Proxy) -> Result<()> {
    let seen = proxy.seen(&any("*"));
    ensure!(!seen.is_empty(), "nobody came by");
    let told = ["authorization", "cookie", "proxy-authorization"];
    ensure!(seen.iter().all(|seen| told.iter().all(|name| seen.header(name).is_none())), "{seen:?}");
    Ok(())
}

#[test]
fn storage_to_which_a_registry_leads_gets_no_login_and_its_signature_is_told_to_nobody() {
    on_stage(Setup::default(), async |stage| {
        let (storage, image) = (Proxy::alone().await?, Image::small()?);
        let signature = "signature-that-opens-the-storage";
        stage.secret(signature);
        for blob in &image.blobs {
            let path = format!("/storage/{}", blob.digest);
            storage.always(get(format!("{path}?*")), answer(200).body(blob.bytes.to_vec()));
            let to = format!("{}{path}?signature={signature}", elsewhere(&storage));
            stage.from.always(get(format!("*/blobs/{}", blob.digest)), answer(307).with("location", to));
        }
        let built = stage.build(image.clone()).await?;
        stage.push(&built).await?.succeeded_after(1)?;
        ensure!(storage.count(&get("/storage/*")) >= image.blobs.len(), "{}", storage.transcript());
        was_told_no_login(&storage)?;

        storage.behave();
        storage.always(any("*"), answer(403).body(format!("no such {signature}")));
        let built = stage.build(Image::small()?).await?;
        for blob in &built.image.blobs {
            let to = format!("{}/storage/{}?signature={signature}", elsewhere(&storage), blob.digest);
            stage.from.always(get(format!("*/blobs/{}", blob.digest)), answer(307).with("location", to));
        }
        let there = storage.host().replace("127.0.0.1", "localhost");
        stage
            .push(&built)
            .await?
            .failed_after(3, "source_unreachable")?
            .says("403 Forbidden")?
            .says(&there)?;
        was_told_no_login(&storage)
    });
}

#[test]
fn upload_that_is_to_go_to_another_host_takes_no_login_there() {
    on_stage(Setup { tries: 1, ..Setup::default() }, async |stage| {
        let other = Proxy::to(stage.enterprise.address()).await?;
        let (here, there) = (stage.to.url(), elsewhere(&other));
        stage.to.always(post("*/blobs/uploads/*"), relocate(move |to| Some(to.replace(&here, &there))));
        let built = stage.build(Image::small()?).await?;
        // The other host asks for a login, as whoever would like to have one does.
        let outcome = stage.push(&built).await?;
        let there = other.host().replace("127.0.0.1", "localhost");
        outcome.failed_after(1, "destination_unreachable")?.says("401 Unauthorized")?.says(&there)?;
        ensure!(other.count(&put("*")) > 0, "{}", other.transcript());
        was_told_no_login(&other)
    });
}

#[test]
fn upload_that_is_redirected_to_another_host_does_not_follow_and_names_it() {
    on_stage(Setup::default(), async |stage| {
        let other = Proxy::alone().await?;
        let away = answer(307).with("location", elsewhere(&other));
        for when in [put("*/manifests/*"), put("*/blobs/uploads/*")] {
            stage.to.behave();
            stage.to.always(when, away.clone());
            let built = stage.build(Image::builder().random_layer(1000)?.finish()?).await?;
            let there = other.host().replace("127.0.0.1", "localhost");
            stage.push(&built).await?.failed_after(1, "unsupported")?.says(&there)?;
        }
        ensure!(other.count(&any("*")) == 0, "{}", other.transcript());
        Ok(())
    });
}

#[test]
fn redirects_in_a_circle_end_as_unsupported() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let rule = stage.to.always(head("*/manifests/*"), answer(307).with("location", "?again"));
        stage.push(&built).await?.failed_after(1, "unsupported")?.says("redirects")?;
        rule.off();
        let rule = stage.from.always(get("*/blobs/*"), answer(307).with("location", "?again"));
        stage.push(&built).await?.failed_after(1, "unsupported")?.says("redirects")?;
        ensure!(rule.applied() < 30, "{rule:?}");
        Ok(())
    });
}
