//! The follower on a real database file, written through the other door. How admission answers by the
//! table is tested inside the crate; the whole program is tested by the end-to-end tests.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Timestamp;
use domain::push::{Moved, Pullable};
use domain::registry::RegistryId;
use drayage_webhook::feed::Origin;
use drayage_webhook::follower::{Follower, Routes};
use routing::{Decision, Table};
use runtime::Shutdown;
use runtime::admin::Health;
use store::{BuiltImage, DatabaseUrl, NewBuild, NewRegistry, PushRequest, Store, Worker};
use uuid::Uuid;

const ASKED: &str = "source.example:5000/algorithms/ann/echo";

/// The side of api and syncer.
struct Writer {
    store: Store,
    registry: RegistryId,
    algorithm: Uuid,
}

impl Writer {
    async fn new(folder: &Path) -> Self {
        let store = Store::open(&url(folder), &folder.join("seal.key")).await.unwrap();
        let new = NewRegistry { address: "corp.example/x".parse().unwrap(), name: None, login: None };
        let registry = store.create_registry(new).await.unwrap().id;
        let (owner, name) = ("ann".parse().unwrap(), "echo".parse().unwrap());
        let algorithm = store.create_algorithm(owner, name, serde_json::json!({})).await.unwrap().uuid;
        Self { store, registry, algorithm }
    }

    /// Compiles an image, pushes it and tells when that was recorded.
    async fn push(&self, hash: &str) -> Instant {
        let image = BuiltImage {
            source: "source.example:5000".parse().unwrap(),
            repository: "algorithms/ann/echo".parse().unwrap(),
            tag: hash.parse().unwrap(),
            digest: format!("sha256:{:064x}", hash.len()).parse().unwrap(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            hash: hash.parse().unwrap(),
        };
        let new = NewBuild {
            algorithm: self.algorithm,
            commit: None,
            image: Some(image),
            log: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            push: Some(PushRequest { registry: self.registry, login: None }),
        };
        self.store.record_build(new).await.unwrap();
        let worker =
            Worker { name: "test".to_owned(), lease: Duration::from_secs(30), at_a_registry: u32::MAX };
        let claim = self.store.claim_pushes(&worker, 1).await.unwrap().pop().unwrap();
        let recorded = Instant::now();
        self.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.unwrap();
        recorded
    }
}

/// A follower that runs until the test ends.
struct Following {
    routes: Arc<Routes>,
    health: Health,
    shutdown: Shutdown,
}

impl Following {
    fn start(folder: &Path) -> Self {
        let following = Self {
            routes: Arc::default(),
            health: Health::default(),
            shutdown: Shutdown::new(Duration::ZERO),
        };
        let condition = following.health.condition("routes");
        let empty = Table::new([4; 16], &[]);
        let follower =
            Follower::new(Origin::Database(url(folder)), empty, following.routes.clone(), condition);
        tokio::spawn(follower.run(following.shutdown.clone()));
        following
    }

    fn pulled(&self, hash: &str) -> Option<String> {
        match self.routes.table().as_ref()?.decide(&format!("{ASKED}:{hash}")) {
            Decision::Routed(routed) => Some(routed.to),
            _ => None,
        }
    }

    /// Looks until it is so; `what` is for the reader of a failure.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !so(self) {
            assert!(Instant::now() < deadline, "not within 20 s: {what}; {:?}", self.health.readiness());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn notes(&self, text: &str) -> bool {
        self.health.readiness().is_ok_and(|notes| notes.contains(text))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn url(folder: &Path) -> DatabaseUrl {
    format!("sqlite:{}", database(folder).display()).parse().unwrap()
}

fn database(folder: &Path) -> PathBuf {
    folder.join("drayage.db")
}

/// Closes the database, so that all of it lies in one file.
async fn closed(writer: Writer) {
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_awaited_and_a_success_is_routed_within_half_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let following = Following::start(folder.path());
    following
        .until("says what it waits for", |it| {
            it.health.readiness().is_err_and(|why| why.contains("is not there"))
        })
        .await;
    assert!(!database(folder.path()).exists(), "the webhook never makes a database");

    let writer = Writer::new(folder.path()).await;
    following.until("ready", |it| it.health.readiness().is_ok()).await;
    let recorded = writer.push("v1").await;
    following.until("routed", |it| it.pulled("v1").is_some()).await;
    assert!(recorded.elapsed() < Duration::from_millis(500), "{:?}", recorded.elapsed());
    assert_eq!(following.pulled("v1").unwrap(), "corp.example/x/algorithms/ann/echo:v1");

    writer.store.remove_registry(writer.registry, false).await.unwrap();
    following.until("the deletion is seen", |it| it.pulled("v1").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_outlive_their_database_and_the_health_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::new(folder.path()).await;
    writer.push("v1").await;
    let following = Following::start(folder.path());
    following.until("routed", |it| it.pulled("v1").is_some()).await;

    let aside = folder.path().join("aside.db");
    std::fs::rename(database(folder.path()), &aside).unwrap();
    following.until("noted", |it| it.notes("may be out of date") && it.notes("is not there")).await;
    let age = following.routes.age();
    following.until("the age grows", |it| it.routes.age() > age + Duration::from_millis(100)).await;
    assert!(following.pulled("v1").is_some());

    std::fs::rename(&aside, database(folder.path())).unwrap();
    following.until("followed again", |it| !it.notes("out of date")).await;
    writer.push("v1.2").await;
    following.until("routed", |it| it.pulled("v1.2").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_is_not_taken_up() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let writer = Writer::new(folder.path()).await;
    writer.push("v1").await;
    let following = Following::start(folder.path());
    following.until("routed", |it| it.pulled("v1").is_some()).await;

    closed(writer).await;
    closed(Writer::new(other.path()).await).await;
    for suffix in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(folder.path().join(format!("drayage.db{suffix}")));
    }
    std::fs::rename(database(other.path()), database(folder.path())).unwrap();
    // Whoever follows needs a writer's log beside the file.
    let writer = Store::open(&url(folder.path()), &other.path().join("seal.key")).await.unwrap();
    following.until("noted", |it| it.notes("another one than the routes came from")).await;
    assert!(following.pulled("v1").is_some());
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_read_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::new(folder.path()).await;
    writer.push("v1").await;
    closed(writer).await;
    let backup = folder.path().join("backup.db");
    std::fs::copy(database(folder.path()), &backup).unwrap();

    let key = folder.path().join("seal.key");
    let writer = Store::open(&url(folder.path()), &key).await.unwrap();
    let registry = writer.registries().await.unwrap()[0].id;
    let following = Following::start(folder.path());
    following.until("routed", |it| it.pulled("v1").is_some()).await;
    writer.remove_registry(registry, false).await.unwrap();
    following.until("the deletion is seen", |it| it.pulled("v1").is_none()).await;

    drop(writer);
    for suffix in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(folder.path().join(format!("drayage.db{suffix}")));
    }
    std::fs::rename(&backup, database(folder.path())).unwrap();
    let _writer = Store::open(&url(folder.path()), &key).await.unwrap();
    following.until("the restored registry is back", |it| it.pulled("v1").is_some()).await;
}
