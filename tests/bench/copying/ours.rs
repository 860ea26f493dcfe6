//! Our side: a running syncer over a database of its own. A copy is what it is in life, from the moment at
//! which pushes are asked for until the last one is recorded as succeeded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use domain::Timestamp;
use domain::registry::RegistryId;
use harness::registry::Registry;
use rusqlite::Connection;
use serde_json::json;
use store::{BuiltImage, NewBuild, PushRequest, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::delay::Delay;
use super::shape::Shape;
use super::{Cost, Source};
use crate::fill::{Ledger, OWNER};
use crate::programs::Program;

/// Between two looks whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(300);

/// A syncer, its database and where it copies to.
pub(super) struct Ours {
    syncer: Program,
    store: Store,
    db: Connection,
    pushes: Vec<NewBuild>,
    asked: bool,
    /// Bytes of memory before the first copy.
    pub(super) idle: u64,
    registry: Registry,
    _way: Option<Delay>,
    _folder: TempDir,
}

impl Ours {
    /// Starts a syncer that will have everything to do.
    pub(super) async fn start(source: &Source, registry: Registry, way: Option<Delay>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let from = source.registry.url();
        let to = way.as_ref().map_or_else(|| registry.url(), |way| format!("http://{}", way.host()));
        let ledger = Ledger::between(folder.path(), &from, &to).await?;
        let syncer = Program::syncer(&ledger).await?;
        let (store, db) = (ledger.open().await?, ledger.connection()?);
        let name = Shape::REPOSITORY.rsplit('/').next().unwrap_or_default();
        let algorithm = store.create_algorithm(OWNER.parse()?, name.parse()?, json!({})).await?;
        let to = ledger.registry(&store).await?;
        let pushes = source.shape.images().iter().map(|(tag, image)| {
            let image = BuiltImage {
                source: from.parse()?,
                repository: Shape::REPOSITORY.parse()?,
                tag: tag.parse()?,
                digest: image.digest.parse()?,
                media_type: image.media_type.clone(),
                hash: tag.parse()?,
            };
            build(algorithm.uuid, image, to)
        });
        let pushes = pushes.collect::<Result<_>>()?;
        let idle = syncer.resident()?;
        Ok(Self { syncer, store, db, pushes, asked: false, idle, registry, _way: way, _folder: folder })
    }

    /// Asks for all pushes, the second time for the same ones again, and waits until they have succeeded.
    pub(super) async fn copy_all(&mut self) -> Result<Cost> {
        let before = self.syncer.cpu()?;
        let start = Instant::now();
        let mut asking = JoinSet::new();
        for push in &self.pushes {
            asking.spawn(ask(self.store.clone(), push.clone(), self.asked));
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        self.asked = true;
        while self.count("succeeded")? < self.pushes.len() {
            ensure!(self.count("failed")? == 0, "a push failed: {}", self.failure()?);
            if start.elapsed() > PATIENCE {
                bail!("not done within {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let wall = start.elapsed();
        let cpu = self.syncer.cpu()?.saturating_sub(before);
        for image in self.pushes.iter().filter_map(|push| push.image.as_ref()) {
            let held = self.registry.manifest(Shape::REPOSITORY, image.tag.as_str()).await?;
            let digest = held.map(|manifest| manifest.digest);
            ensure!(digest.as_deref() == Some(image.digest.as_str()), "{}: {digest:?}", image.tag);
        }
        Ok(Cost { wall, cpu, peak: self.syncer.peak()? })
    }

    /// Bytes uploaded so far, by the ledger.
    pub(super) fn uploaded(&self) -> Result<u64> {
        let sql = "SELECT sum(bytes_uploaded) FROM attempt";
        Ok(self.db.query_one(sql, [], |row| row.get::<_, i64>(0))?.try_into()?)
    }

    fn count(&self, status: &str) -> Result<usize> {
        let mut statement = self.db.prepare_cached("SELECT count(*) FROM push WHERE status = ?1")?;
        Ok(statement.query_one([status], |row| row.get::<_, u32>(0))? as usize)
    }

    fn failure(&self) -> Result<String> {
        let sql = "SELECT reason || ': ' || message FROM push WHERE status = 'failed'";
        self.db.query_one(sql, [], |row| row.get(0)).context("the failure")
    }
}

fn build(algorithm: Uuid, image: BuiltImage, registry: RegistryId) -> Result<NewBuild> {
    Ok(NewBuild {
        algorithm,
        commit: None,
        image: Some(image),
        log: String::new(),
        started_at: Timestamp::now(),
        push: Some(PushRequest { registry, login: None }),
    })
}

async fn ask(store: Store, build: NewBuild, again: bool) -> Result<()> {
    if !again {
        store.record_build(build).await?;
        return Ok(());
    }
    let (image, push) = (build.image.context("an image")?, build.push.context("a push")?);
    let asked = store.request_push(build.algorithm, image.hash, Some(push.registry), None).await?;
    Ok(asked.context("the version")??)
}
