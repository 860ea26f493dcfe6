//! Statements of the feed, on connections that only read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use domain::fact::{DatabaseId, Fact, FactPage, ImageId, Revision, Route};
use domain::registry::{Address, RegistryId};
use rusqlite::{Connection, ErrorCode, Row};

use super::watch::Watch;
use super::{columns, connection, migrate};
use crate::StoreError;
use crate::feed::FeedError;

/// How many times `limit` revisions are looked through at once at the most, where they hold next to nothing.
const STEPS: u64 = 8;

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
    connection::identity(path).ok_or_else(|| FeedError::Missing(path.into()))
}

fn page(db: &Connection, after: Revision, limit: usize) -> rusqlite::Result<FactPage> {
    let (database, head) = db.query_one("SELECT database_id, revision FROM instance", [], |row| {
        Ok((
            columns::parsed(row, "database_id").map(DatabaseId)?,
            columns::count(row, "revision").map(Revision)?,
        ))
    })?;
    let mut facts = Vec::new();
    let mut repeated = Repeated::new(db);
    let (mut from, mut step) = (after.0, limit as u64);
    // A revision has few facts. Many have none any more, since a later one is about the same thing.
    while from < head.0 && facts.len() <= limit / 2 {
        let upto = head.0.min(from.saturating_add(step));
        for (sql, read) in FACTS {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query((columns::kept(from), columns::kept(upto)))?;
            while let Some(row) = rows.next()? {
                facts.push(read(row, &mut repeated)?);
            }
        }
        (from, step) = (upto, (step * 2).min(limit as u64 * STEPS));
    }
    Ok(FactPage { database, facts, upto: Revision(from), head })
}

/// What the rows of a page say again and again, parsed once: a first load reads rows by the million.
struct Repeated<'db> {
    db: &'db Connection,
    sources: HashMap<Box<str>, Address>,
    /// By the id of the address.
    places: HashMap<i64, (RegistryId, Address)>,
}

impl<'db> Repeated<'db> {
    fn new(db: &'db Connection) -> Self {
        Self { db, sources: HashMap::new(), places: HashMap::new() }
    }

    /// The source registry in the column.
    fn source(&mut self, row: &Row<'_>, column: usize) -> rusqlite::Result<Address> {
        let text = row.get_ref(column)?.as_str()?;
        if let Some(known) = self.sources.get(text) {
            return Ok(known.clone());
        }
        let source: Address = columns::parsed(row, column)?;
        self.sources.insert(text.into(), source.clone());
        Ok(source)
    }

    /// The address whose id is in the column, and its registry.
    fn place(&mut self, row: &Row<'_>, column: usize) -> rusqlite::Result<(RegistryId, Address)> {
        let id = row.get(column)?;
        if let Some(known) = self.places.get(&id) {
            return Ok(known.clone());
        }
        let mut statement = self.db.prepare_cached(
            "SELECT r.uuid, a.address FROM registry_address a JOIN registry r ON r.id = a.registry
             WHERE a.id = ?1",
        )?;
        let place =
            statement.query_one([id], |row| Ok((columns::registry_id(row, 0)?, columns::parsed(row, 1)?)))?;
        self.places.insert(id, place.clone());
        Ok(place)
    }
}

type ReadFact = fn(&Row<'_>, &mut Repeated<'_>) -> rusqlite::Result<Fact>;

/// One statement a kind of fact. Within a page, what others refer to comes first.
const FACTS: [(&str, ReadFact); 5] = [
    (
        "SELECT source FROM instance WHERE source IS NOT NULL AND source_revision > ?1 AND source_revision <= ?2",
        |row, _| columns::parsed(row, 0).map(Fact::Source),
    ),
    (
        "SELECT uuid, name, deleted_at IS NULL AS live FROM registry
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row, _| {
            Ok(Fact::Registry { id: columns::registry_id(row, 0)?, name: row.get(1)?, live: row.get(2)? })
        },
    ),
    (
        "SELECT id, source, repository, digest FROM image
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row, repeated| {
            Ok(Fact::Image {
                id: columns::count(row, 0).map(ImageId)?,
                source: repeated.source(row, 1)?,
                repository: columns::parsed(row, 2)?,
                digest: columns::parsed(row, 3)?,
            })
        },
    ),
    (
        "SELECT image, tag, revision FROM image_tag WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row, _| {
            Ok(Fact::Tag {
                image: columns::count(row, 0).map(ImageId)?,
                tag: columns::parsed(row, 1)?,
                revision: columns::count(row, 2).map(Revision)?,
            })
        },
    ),
    (
        "SELECT image, address, tag, succeeded_at, revision FROM route
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
        |row, repeated| {
            let (registry, address) = repeated.place(row, 1)?;
            Ok(Fact::Route(Route {
                image: columns::count(row, 0).map(ImageId)?,
                registry,
                address,
                tag: columns::parsed(row, 2)?,
                succeeded_at: columns::moment(row, 3)?,
                succeeded: columns::count(row, 4).map(Revision)?,
            }))
        },
    ),
];
