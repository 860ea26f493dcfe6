//! Statements of the feed, on connections that only read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use domain::fact::{DatabaseId, Fact, FactPage, ImageId, Revision, Route};
use rusqlite::{Connection, ErrorCode, Row};

use super::watch::Watch;
use super::{columns, connection, migrate};
use crate::StoreError;
use crate::feed::FeedError;

/// An open database file that is followed.
pub(crate) struct Follow {
    path: PathBuf,
    /// Device and inode: another file at the same path would stay invisible to the connections for ever.
    file: (u64, u64),
    db: Mutex<Connection>,
    watch: Watch,
}

impl Follow {
    pub(crate) fn open(path: &Path) -> Result<Self, FeedError> {
        let file = identity(path)?;
        // Until a writer has made the write-ahead log, a read-only open fails; so does an empty file's schema.
        let not_ready = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => FeedError::Unusable(path.into()),
            _ => FeedError::NotReady(path.into()),
        };
        let db = connection::read_only(path).map_err(not_ready)?;
        let found = migrate::found(&db).map_err(not_ready)?;
        if found > migrate::KNOWN {
            return Err(FeedError::Newer { found, known: migrate::KNOWN });
        }
        if found < migrate::KNOWN {
            return Err(FeedError::NotReady(path.into()));
        }
        let watch = Watch::open(path)?;
        Ok(Self { path: path.into(), file, db: Mutex::new(db), watch })
    }

    /// Whether anything was committed since this was last asked.
    pub(crate) fn moved(&self) -> Result<bool, FeedError> {
        if identity(&self.path)? != self.file {
            return Err(FeedError::Replaced(self.path.clone()));
        }
        Ok(self.watch.moved()?)
    }

    pub(crate) fn page(&self, after: Revision, limit: usize) -> Result<FactPage, FeedError> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        // One short read transaction: longer ones would let the write-ahead log grow.
        let tx = db.transaction().map_err(StoreError::from)?;
        Ok(page(&tx, after, limit).map_err(StoreError::from)?)
    }
}

fn identity(path: &Path) -> Result<(u64, u64), FeedError> {
    let file = fs::metadata(path).map_err(|_| FeedError::Missing(path.into()))?;
    Ok((file.dev(), file.ino()))
}

fn page(db: &Connection, after: Revision, limit: usize) -> rusqlite::Result<FactPage> {
    let (database, head) = db.query_one("SELECT database_id, revision FROM instance", [], |row| {
        Ok((
            columns::parsed(row, "database_id").map(DatabaseId)?,
            columns::count(row, "revision").map(Revision)?,
        ))
    })?;
    let from = columns::kept(after.0);
    // The page ends with the revision of its last row, whole; the indexes deliver the rows in order.
    let upto: Option<i64> = db
        .prepare_cached(
            "SELECT max(revision) FROM (
                 SELECT revision FROM registry WHERE revision > ?1
                 UNION ALL SELECT revision FROM image WHERE revision > ?1
                 UNION ALL SELECT revision FROM image_tag WHERE revision > ?1
                 UNION ALL SELECT revision FROM route WHERE revision > ?1
                 ORDER BY revision LIMIT ?2)",
        )?
        .query_one((from, columns::kept(limit as u64)), |row| row.get(0))?;
    let more = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM registry WHERE revision > ?1)
                 OR EXISTS (SELECT 1 FROM image WHERE revision > ?1)
                 OR EXISTS (SELECT 1 FROM image_tag WHERE revision > ?1)
                 OR EXISTS (SELECT 1 FROM route WHERE revision > ?1)",
        )?
        .query_one([upto.unwrap_or(from)], |row| row.get::<_, bool>(0))?;
    let upto = match upto {
        Some(upto) if more => upto,
        _ => columns::kept(head.0).max(from),
    };
    let mut facts = Vec::new();
    for (sql, read) in FACTS {
        let mut statement = db.prepare_cached(sql)?;
        for fact in statement.query_map((from, upto), read)? {
            facts.push(fact?);
        }
    }
    Ok(FactPage { database, facts, upto: Revision(upto.unsigned_abs()), head })
}

type ReadFact = fn(&Row<'_>) -> rusqlite::Result<Fact>;

/// One statement a kind of fact, its columns read by number: a first load reads them by the million. Within a page, what others refer to comes first.
const FACTS: [(&str, ReadFact); 5] = [
    (
        "SELECT source FROM instance WHERE source IS NOT NULL AND source_revision > ?1 AND source_revision <= ?2",
        |row| columns::parsed(row, 0).map(Fact::Source),
    ),
    (
        "SELECT uuid, name, deleted_at IS NULL AS live FROM registry
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row| Ok(Fact::Registry { id: columns::registry_id(row, 0)?, name: row.get(1)?, live: row.get(2)? }),
    ),
    (
        "SELECT id, source, repository, digest FROM image
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row| {
            Ok(Fact::Image {
                id: columns::count(row, 0).map(ImageId)?,
                source: columns::parsed(row, 1)?,
                repository: columns::parsed(row, 2)?,
                digest: columns::parsed(row, 3)?,
            })
        },
    ),
    (
        "SELECT image, tag, revision FROM image_tag WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row| {
            Ok(Fact::Tag {
                image: columns::count(row, 0).map(ImageId)?,
                tag: columns::parsed(row, 1)?,
                revision: columns::count(row, 2).map(Revision)?,
            })
        },
    ),
    (
        "SELECT o.image, r.uuid, a.address, o.tag, o.succeeded_at, o.revision
         FROM route o JOIN registry r ON r.id = o.registry JOIN registry_address a ON a.id = o.address
         WHERE o.revision > ?1 AND o.revision <= ?2 ORDER BY o.revision",
        |row| {
            Ok(Fact::Route(Route {
                image: columns::count(row, 0).map(ImageId)?,
                registry: columns::registry_id(row, 1)?,
                address: columns::parsed(row, 2)?,
                tag: columns::parsed(row, 3)?,
                succeeded_at: columns::moment(row, 4)?,
                succeeded: columns::count(row, 5).map(Revision)?,
            }))
        },
    ),
];
