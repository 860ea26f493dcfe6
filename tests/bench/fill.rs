//! The database that is measured: made through the store's own door, then filled in bulk with the rows
//! that compile, publish and push would have left, one route a version. Also the names of what is in it.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use domain::registry::RegistryId;
use rusqlite::{Connection, Transaction};
use sha2::{Digest as _, Sha256};
use store::{DatabaseUrl, NewRegistry, Store};
use uuid::Uuid;

/// Where pods take their images from.
pub(crate) const SOURCE: &str = "registry.platform.example:5000";
/// Where all of them were pushed to.
pub(crate) const DESTINATION: &str = "images.enterprise.example/inspected";
/// Whose all of it is.
pub(crate) const OWNER: &str = "bench";
/// Versions of each algorithm.
const VERSIONS: u32 = 10;
/// Bytes of each image, for the record of its push.
const SIZE: i64 = 117_440_512;

/// A folder with a database and its seal key.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    folder: PathBuf,
    /// The source registry.
    pub(crate) source: String,
}

impl Ledger {
    /// Makes a database whose registries are never spoken to.
    pub(crate) async fn make(folder: &Path) -> Result<Self> {
        Self::between(folder, SOURCE, DESTINATION).await
    }

    /// Makes a database with a source and one registry.
    pub(crate) async fn between(folder: &Path, source: &str, destination: &str) -> Result<Self> {
        let ledger = Self { folder: folder.to_owned(), source: source.to_owned() };
        let store = ledger.open().await?;
        store.set_source(source.parse()?).await?;
        let new = NewRegistry { address: destination.parse()?, name: Some("enterprise".into()), login: None };
        store.create_registry(new).await?;
        Ok(ledger)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("drayage.db")
    }

    pub(crate) fn seal_key(&self) -> PathBuf {
        self.folder.join("seal.key")
    }

    /// As flags and the store's doors take it.
    pub(crate) fn url(&self) -> Result<DatabaseUrl> {
        Ok(format!("sqlite:{}", self.database().display()).parse()?)
    }

    pub(crate) async fn open(&self) -> Result<Store> {
        Ok(Store::open(&self.url()?, &self.seal_key()).await?)
    }

    /// The id of its one registry.
    pub(crate) async fn registry(&self, store: &Store) -> Result<RegistryId> {
        Ok(store.registries().await?.first().context("the registry")?.id)
    }

    /// Copies the two files while no process has them open, never over existing ones.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let kept = Self { folder: folder.to_owned(), source: self.source.clone() };
        for (from, to) in [(self.database(), kept.database()), (self.seal_key(), kept.seal_key())] {
            ensure!(!to.exists(), "{} exists and is not replaced; give KEEP another folder", to.display());
            fs::copy(&from, &to).with_context(|| format!("keeping {}", to.display()))?;
        }
        Ok(())
    }

    /// Adds the versions of this range, each with its image, build, push and route, and closes the file.
    pub(crate) fn fill(&self, versions: Range<u32>) -> Result<()> {
        let mut db = self.connection()?;
        // Nothing else has the file open and a crash only costs the benchmark.
        db.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; PRAGMA cache_size = -524288;")?;
        let tx = db.transaction()?;
        let mut next = Next::after(&tx)?;
        for version in versions {
            next.insert(&tx, version)?;
        }
        tx.execute("UPDATE instance SET revision = ?1", [next.revision])?;
        tx.commit()?;
        db.close().map_err(|(_, error)| error)?;
        ensure!(!self.database().with_extension("db-wal").exists(), "the write-ahead log was not folded in");
        Ok(())
    }

    pub(crate) fn connection(&self) -> Result<Connection> {
        Ok(Connection::open(self.database())?)
    }
}

/// What the next row needs to know of those before it.
struct Next {
    revision: i64,
    now: i64,
    algorithm: i64,
}

impl Next {
    fn after(tx: &Transaction<'_>) -> Result<Self> {
        Ok(tx.query_row(
            "SELECT revision, CAST(unixepoch('subsec') * 1000 AS INTEGER),
                    (SELECT coalesce(max(id), 0) FROM algorithm) FROM instance",
            [],
            |row| Ok(Self { revision: row.get(0)?, now: row.get(1)?, algorithm: row.get(2)? }),
        )?)
    }

    /// The rows in the order in which compile, publish and the syncer write them: image and tag share
    /// one revision, the route takes the next.
    fn insert(&mut self, tx: &Transaction<'_>, version: u32) -> Result<()> {
        let now = self.now;
        let (repository, hash, digest) = (repository(version), hash(version), digest(version));
        if version.is_multiple_of(VERSIONS) {
            tx.prepare_cached(
                r#"INSERT INTO algorithm (uuid, owner, name, document, created_at, updated_at)
                   VALUES (?1, ?2, ?3, '{"details":{"label":"Measured"},"settings":{}}', ?4, ?4)"#,
            )?
            .execute((uuid(), OWNER, algorithm(version), now))?;
            self.algorithm = tx.last_insert_rowid();
        }
        self.revision += 1;
        tx.prepare_cached(
            "INSERT INTO image (source, repository, digest, media_type, created_at, revision)
             VALUES (?1, ?2, ?3, 'application/vnd.oci.image.index.v1+json', ?4, ?5)",
        )?
        .execute((SOURCE, &repository, &digest, now, self.revision))?;
        let image = tx.last_insert_rowid();
        tx.prepare_cached(
            "INSERT INTO image_tag (image, tag, resolved_at, revision) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((image, &hash, now, self.revision))?;
        tx.prepare_cached(
            r#"INSERT INTO version (uuid, algorithm, hash, image, major, minor, patch, document, created_at,
                   published_at)
               VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, '{"version_info":{"version_type":"minor"}}', ?6, ?6)"#,
        )?
        .execute((uuid(), self.algorithm, &hash, image, version % VERSIONS + 1, now))?;
        let row = tx.last_insert_rowid();
        tx.prepare_cached(
            "INSERT INTO build (uuid, algorithm, version, commit_sha, log, started_at, finished_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .execute((uuid(), self.algorithm, row, &hash, format!("found {repository}:{hash}"), now))?;
        tx.prepare_cached(
            "INSERT INTO push (registry, repository, tag, version, image, owner, generation, requested_at, status,
                 pullable, attempts, lease, claimed_at, bytes_done, bytes_total, updated_at)
             SELECT min(id), ?1, ?2, ?3, ?4, ?7, 1, ?5, 'succeeded', 'verified', 1, 1, ?5, ?6, ?6, ?5 FROM registry",
        )?
        .execute((&repository, &hash, row, image, now, SIZE, OWNER))?;
        let push = tx.last_insert_rowid();
        tx.prepare_cached(
            "INSERT INTO attempt (push, lease, generation, started_at, ended_at, bytes_uploaded, bytes_mounted,
                 bytes_present)
             VALUES (?1, 1, 1, ?2, ?2, ?3, 0, 0)",
        )?
        .execute((push, now, SIZE))?;
        self.revision += 1;
        tx.prepare_cached(
            "INSERT INTO route (image, registry, address, tag, succeeded_at, revision)
             SELECT ?1, id, address, ?2, ?3, ?4 FROM registry ORDER BY id LIMIT 1",
        )?
        .execute((image, &hash, now, self.revision))?;
        Ok(())
    }
}

fn uuid() -> String {
    Uuid::new_v4().to_string()
}

/// The algorithm of a version.
pub(crate) fn algorithm(version: u32) -> String {
    format!("algorithm_{}", version / VERSIONS)
}

/// The repository of a version's image in every registry.
pub(crate) fn repository(version: u32) -> String {
    format!("algorithms/{OWNER}/{}", algorithm(version))
}

/// The hash of a version, which is the tag of its image.
pub(crate) fn hash(version: u32) -> String {
    hex::encode(&Sha256::digest(format!("commit {version}"))[..20])
}

/// The digest of a version's image.
pub(crate) fn digest(version: u32) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(format!("image {version}"))))
}
