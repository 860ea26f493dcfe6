//! The database is locked by another process, or its disk is full: nothing is lost, readiness says it, and
//! everything goes on by itself afterwards.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::disk::Disk;
use harness::faults::{Built, Setup, Stage, get, on_stage};
use harness::image::Image;
use harness::services::{Answer, Service};
use reqwest::Method;
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

/// A push that is under way and cannot end before the source goes on.
async fn under_way(stage: &Stage) -> Result<Built> {
    let built = stage.build(Image::builder().random_layer(100_000)?.finish()?).await?;
    stage.from.forget();
    stage.source.signal(Signal::STOP)?;
    stage.ask(&built).await?;
    eventually("the push to be under way", async || {
        ensure!(stage.from.count(&get("*/manifests/*")) == 1, "nothing is asked of the source");
        Ok(())
    })
    .await?;
    Ok(built)
}

/// Something that the api has to write down.
async fn wish(stage: &Stage, name: &str) -> Result<Answer> {
    let body = json!({"name": name, "registry_url": "registry.example/x"});
    stage.drayage.call(Method::POST, "/v1/registries", &stage.drayage.admin_key, Some(&body)).await
}

async fn says(service: &Service, words: &str) -> Result<()> {
    eventually("readiness to say it", async || {
        let (status, text) = service.admin("/readyz").await?;
        ensure!(status == 503 && text.contains(words), "{status}: {text}");
        Ok(())
    })
    .await
}

/// Both say it while the fault lasts; afterwards the push ends as if nothing had been, and wishes are taken.
async fn survives(stage: &Stage, built: &Built, words: &str, end: impl FnOnce() -> Result<()>) -> Result<()> {
    stage.source.signal(Signal::CONT)?;
    let refused = wish(stage, "refused").await?;
    refused.expect(503)?;
    ensure!(refused.text.contains(words) && refused.text.contains("try again"), "{}", refused.text);
    says(&stage.drayage.syncer, words).await?;
    says(&stage.drayage.api, words).await?;
    let pending = stage.status(built).await?;
    ensure!(pending["status"] == "in-progress", "a status is read all the same: {pending}");
    end()?;
    stage.over(built).await?.succeeded_after(1)?;
    stage.drayage.syncer.ready().await?;
    stage.drayage.api.ready().await?;
    wish(stage, "taken").await?.expect(200)?;
    let registries = stage.drayage.get("/v1/registries").await?.to_string();
    ensure!(registries.contains("taken") && !registries.contains("refused"), "{registries}");
    Ok(())
}

#[test]
fn database_that_another_process_locks_is_waited_for() {
    on_stage(Setup { syncer: &["--lease", "60s"], ..Setup::default() }, async |stage| {
        let built = under_way(stage).await?;
        let other = Connection::open(stage.drayage.file("drayage.db"))?;
        other.execute_batch("BEGIN IMMEDIATE")?;
        survives(stage, &built, "database", || Ok(other.execute_batch("COMMIT")?)).await
    });
}

#[test]
fn database_whose_disk_is_full_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = None;
    on_stage(Setup { syncer: &["--lease", "60s"], ..Setup::default() }, async |stage| {
        let small = folder.path();
        disk = Some(Disk::mount(small, 4 << 20)?);
        move_database(stage, small).await?;
        let built = under_way(stage).await?;
        let filler = small.join("filler");
        fill(&filler)?;
        let full = "disk of the database is full";
        survives(stage, &built, full, || Ok(fs::remove_file(&filler)?)).await?;
        let log = stage.drayage.syncer.log();
        let told = |words: &str| {
            let lines = log.lines().filter(|line| !line.contains(r#""level":"DEBUG""#));
            lines.filter(|line| line.contains(words)).count()
        };
        ensure!(told(full) == 1, "told {} times that {full}", told(full));
        ensure!(told("takes writes again") == 1, "told {} times that it is over", told("takes writes again"));
        Ok(())
    });
    // Not before the stage has gone, which looks at the database to the last.
    drop(disk);
}

/// Puts the database onto another disk, where its path leads to from then on.
async fn move_database(stage: &mut Stage, disk: &Path) -> Result<()> {
    let drayage = &mut stage.drayage;
    drayage.webhook.kill()?;
    drayage.syncer.terminate().await?;
    drayage.api.terminate().await?;
    for name in ["drayage.db", "drayage.db-wal"] {
        let (path, moved) = (drayage.file(name), disk.join(name));
        // A log that could not be folded in on the way out belongs to the database.
        if path.exists() {
            fs::copy(&path, &moved)?;
            fs::remove_file(&path)?;
        }
    }
    symlink(disk.join("drayage.db"), drayage.file("drayage.db"))?;
    for service in [&mut drayage.api, &mut drayage.syncer, &mut drayage.webhook] {
        service.restart().await?;
        service.ready().await?;
    }
    Ok(())
}

/// Takes all the room that there is.
fn fill(path: &Path) -> Result<()> {
    let mut filler = File::create(path)?;
    for piece in [64 << 10, 4 << 10] {
        while filler.write_all(&vec![0; piece]).is_ok() {}
    }
    Ok(())
}
