//! What stands behind admission: how soon a new route is seen, how long a status read and a claim take,
//! and what the programs cost that have nothing to do.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use domain::Timestamp;
use domain::push::{Moved, Pullable};
use serde_json::json;
use store::{BuiltImage, NewBuild, PushRequest, Store, Worker};

use crate::fill::{self, DESTINATION, Ledger, OWNER, SOURCE};
use crate::load::Server;
use crate::programs::Program;
use crate::report::{Figure, median, percentile, shown};
use crate::review::{Reviews, patched_images};

const LEASE: Duration = Duration::from_secs(60);
const NEW_ROUTES: u32 = 20;
const STATUS_READS: u32 = 2_000;
const CLAIMS: usize = 200;
const IDLE: Duration = Duration::from_secs(10);

/// One whose registry never has its share running.
fn worker() -> Worker {
    Worker { name: "bench".to_owned(), lease: LEASE, at_a_registry: u32::MAX }
}

/// From the commit of a push's success until a running webhook rewrites a pod by it.
pub(crate) async fn visibility(ledger: &Ledger, server: &Server, reviews: &Reviews) -> Result<Vec<Figure>> {
    let store = ledger.open().await?;
    let registry = ledger.registry(&store).await?;
    let name = format!("fresh_{}", Timestamp::now().as_millisecond());
    let algorithm = store.create_algorithm(OWNER.parse()?, name.parse()?, json!({})).await?;
    let repository = format!("algorithms/{OWNER}/{name}");
    let mut connection = server.connect().await?;
    let mut took = Vec::new();
    for number in 0..NEW_ROUTES {
        let (hash, digest) = (fill::hash(u32::MAX - number), fill::digest(u32::MAX - number));
        let image = BuiltImage {
            source: SOURCE.parse()?,
            repository: repository.parse()?,
            tag: hash.parse()?,
            digest: digest.parse()?,
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            hash: hash.parse()?,
        };
        let build = NewBuild {
            algorithm: algorithm.uuid,
            commit: None,
            image: Some(image),
            log: String::new(),
            started_at: Timestamp::now(),
            push: Some(PushRequest { registry, login: None }),
        };
        store.record_build(build).await?;
        let claim = store.claim_pushes(&worker(), 1).await?.pop().context("a due push")?;
        store.finish_push(&claim, Moved::default(), Pullable::Verified).await?;
        let committed = Instant::now();
        let review = reviews.naming(&format!("{SOURCE}/{repository}@{digest}"));
        let expected = format!("{DESTINATION}/{repository}@{digest}");
        while patched_images(&connection.post(review.clone()).await?)? != [expected.clone()] {
            ensure!(committed.elapsed() < Duration::from_secs(60), "the route of {digest} never came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(committed.elapsed());
    }
    let slowest = percentile(&mut took, 100);
    let median = median(&mut took);
    Ok(vec![
        Figure::new(
            "a new route is seen after its commit",
            format!("{} (slowest {})", shown(median), shown(slowest)),
        )
        .target("≤ 500 ms", median <= Duration::from_millis(500)),
    ])
}

/// Reads of a push's status through the api.
pub(crate) async fn status_reads(ledger: &Ledger, folder: &Path, versions: u32) -> Result<Vec<Figure>> {
    let key = folder.join("admin.key");
    let api = Program::api(ledger, &key).await?;
    let key = fs::read_to_string(key)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut took = Vec::new();
    for number in 0..STATUS_READS {
        let version = (u64::from(number) * u64::from(versions) / u64::from(STATUS_READS)) as u32;
        let path = format!("{}/versions/{}/registry", fill::algorithm(version), fill::hash(version));
        let url = format!("http://{}/v1/algorithms/{OWNER}/{path}", api.address);
        let request = client.get(url).header("Authorization", format!("Simple {}", key.trim())).build()?;
        let start = Instant::now();
        let answer = client.execute(request).await?.error_for_status()?.bytes().await?;
        took.push(start.elapsed());
        ensure!(answer.starts_with(b"["), "no list of statuses: {}", String::from_utf8_lossy(&answer));
    }
    let took = median(&mut took);
    Ok(vec![
        Figure::new(format!("status read through the api, p50, {versions} pushes"), shown(took))
            .target("≤ 1 ms", took <= Duration::from_millis(1)),
    ])
}

/// A claim with few and with very many due pushes.
pub(crate) async fn claims(ledger: &Ledger) -> Result<Vec<Figure>> {
    let store = ledger.open().await?;
    make_due(ledger, 1_000)?;
    let few = claim_time(&store).await?;
    make_due(ledger, 100_000)?;
    let many = claim_time(&store).await?;
    make_due(ledger, 100_000)?;
    hold_most(ledger, 100_000)?;
    let held = claim_time(&store).await?;
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    Ok(vec![
        Figure::new("claim with 100000 due pushes to one with 1000", format!("{ratio:.2}"))
            .target("≤ 1.5", ratio <= 1.5),
        Figure::new("claim with 100000 due pushes, p50", shown(many))
            .target("≤ 2 ms", many <= Duration::from_millis(2)),
        Figure::new("the same with nine tenths to registries on hold", shown(held))
            .target("≤ 2 ms", held <= Duration::from_millis(2)),
    ])
}

fn make_due(ledger: &Ledger, pushes: u32) -> Result<()> {
    let db = ledger.connection()?;
    db.busy_timeout(Duration::from_secs(10))?;
    let made = db.execute(
        "UPDATE push SET status = 'pending', due_at = requested_at, leased_until = NULL WHERE id <= ?1",
        [pushes],
    )?;
    ensure!(made == pushes as usize, "{made} pushes were made due");
    Ok(())
}

/// Gives nine tenths of the pushes to nine more registries, which are on hold.
fn hold_most(ledger: &Ledger, pushes: u32) -> Result<()> {
    let db = ledger.connection()?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         INSERT INTO registry (id, uuid, address, created_at, updated_at, revision)
             SELECT 100 + value, lower(hex(randomblob(16))), (SELECT min(id) FROM registry_address), 0, 0, 0
             FROM json_each('[1,2,3,4,5,6,7,8,9]');
         INSERT INTO registry_hold (registry, held_since, held_until, failures, hold_reason, hold_message)
             SELECT id, 0, 9e15, 1, 'destination_unreachable', 'refused' FROM registry WHERE id > 100;
         UPDATE push SET registry = 100 + id % 10 WHERE id <= {pushes} AND id % 10 > 0;
         COMMIT;"
    ))?;
    Ok(())
}

async fn claim_time(store: &Store) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..CLAIMS {
        let start = Instant::now();
        let claim = store.claim_pushes(&worker(), 1).await?.pop();
        took.push(start.elapsed());
        ensure!(claim.is_some(), "nothing was due");
    }
    Ok(median(&mut took))
}

/// The readiness and the idle CPU of all three programs over one database.
pub(crate) async fn idleness(ledger: &Ledger, folder: &Path, webhook: &Program) -> Result<Vec<Figure>> {
    let api = Program::api(ledger, &folder.join("admin.key")).await?;
    let syncer = Program::syncer(ledger).await?;
    let programs = [("webhook", webhook), ("api", &api), ("syncer", &syncer)];
    // What starting and the load before have left to do is over by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = programs.map(|(_, program)| program.cpu());
    tokio::time::sleep(IDLE).await;
    let mut figures = Vec::new();
    for ((name, program), before) in programs.into_iter().zip(before) {
        let Some(used) = program.cpu()?.checked_sub(before?) else {
            bail!("the CPU time of {name} went back")
        };
        let percent = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        let ready = program.ready_after;
        let cost = program.ready_cost.as_millis();
        figures.push(
            Figure::new(
                format!("{name}: from start to ready"),
                format!("{} ({cost} ms of CPU)", shown(ready)),
            )
            .target("≤ 300 ms", ready <= Duration::from_millis(300)),
        );
        figures.push(
            Figure::new(format!("{name}: idle CPU of a core"), format!("{percent:.2} %"))
                .target("≤ 0.5 %", percent <= 0.5),
        );
    }
    Ok(figures)
}
