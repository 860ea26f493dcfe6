//! TLS with an unknown authority, and with a certificate of another name.

use anyhow::{Result, ensure};
use harness::certificates::Authority;
use harness::faults::{Setup, on_stage};
use harness::image::Image;
use harness::registry::Registry;

#[test]
fn certificate_that_is_not_trusted_or_names_another_is_named_as_such() -> Result<()> {
    let (trusted, stranger) = (Authority::new()?, Authority::new()?);
    on_stage(Setup { trusted: Some(&trusted), ..Setup::default() }, async |stage| {
        let mut secure =
            Registry::with_tls(&trusted, vec![stage.reader.clone(), stage.pusher.clone()]).await?;
        let registry = stage.drayage.register(&secure.url(), Some(&stage.reader)).await?;
        let cases = [(&stranger, "localhost"), (&trusted, "registry.example")];
        for (authority, name) in cases {
            secure.present(authority, &[name]).await?;
            let built = stage.build(Image::small()?).await?;
            stage.ask_for(&built, &registry, &stage.pusher).await?;
            let status = stage.drayage.ended(&stage.algorithm, &built.hash, &registry).await?;
            ensure!(status["status"] == "failed" && status["reason"] == "certificate", "{status}");
            ensure!(status["attempts"] == 1, "{status}");
            // That is what tells a certificate that is refused from a registry that is broken.
            secure.present(&trusted, &["localhost", "127.0.0.1"]).await?;
            let tagged = secure.manifest(&stage.algorithm.repository(), &built.hash).await?;
            ensure!(tagged.is_none(), "tagged, though it has failed");
            stage.ask_for(&built, &registry, &stage.pusher).await?;
            stage.drayage.pushed(&stage.algorithm, &built.hash, &registry).await?;
            secure.holds(&built.image, &stage.algorithm.repository(), &built.hash).await?;
        }
        Ok(())
    });
    Ok(())
}
