//! Statements of versions: what a compile and a publication record, and reading them back.

use domain::version::{SemanticVersion, VersionHash};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::pushes::{self, Asked};
use super::{algorithms, builds, columns};
use crate::seal::SealKey;
use crate::{
    BuiltImage, NewBuild, PageRequest, Publication, PublishError, RecordError, Recorded, StoreError, Version,
    VersionFilter,
};

const SELECT: &str = "SELECT v.*, i.digest FROM version v JOIN image i ON i.id = v.image";

pub(crate) fn record_build(
    tx: &Transaction<'_>,
    seal: &SealKey,
    new: &NewBuild,
) -> Result<Recorded, RecordError> {
    let Some(algorithm) = algorithms::row_id(tx, new.algorithm).map_err(StoreError::from)? else {
        return Err(RecordError::Unknown);
    };
    let now = columns::now(tx).map_err(StoreError::from)?;
    let version = match &new.image {
        Some(image) => Some(yielded(tx, algorithm, image, now)?),
        None => None,
    };
    let build = builds::insert(tx, algorithm, new, version.as_ref(), now)?;
    if let (Some((version, _)), Some(push)) = (&version, &new.push) {
        pushes::enqueue(tx, seal, *version, push, Asked::ByCompile)??;
    }
    let recorded = || -> rusqlite::Result<Recorded> {
        Ok(Recorded {
            build: builds::reread(tx, build)?,
            version: version.as_ref().map(|(version, _)| reread(tx, *version)).transpose()?,
        })
    };
    Ok(recorded().map_err(StoreError::from)?)
}

/// The version of an image: the one that its digest already has, else the one of its hash, else a new one.
fn yielded(
    tx: &Transaction<'_>,
    algorithm: i64,
    built: &BuiltImage,
    now: i64,
) -> Result<(i64, VersionHash), StoreError> {
    let revision = columns::next_revision(tx)?;
    let image: i64 = tx.query_one(
        "INSERT INTO image (source, repository, digest, media_type, created_at, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (repository, digest, source) DO UPDATE SET media_type = excluded.media_type
         RETURNING id",
        (
            built.source.to_string(),
            built.repository.as_str(),
            built.digest.as_str(),
            &built.media_type,
            now,
            revision,
        ),
        |row| row.get(0),
    )?;
    let known: Option<(i64, VersionHash)> = tx
        .query_one(
            "SELECT id, hash FROM version WHERE algorithm = ?1 AND image = ?2 ORDER BY id LIMIT 1",
            (algorithm, image),
            |row| Ok((row.get(0)?, columns::parsed(row, "hash")?)),
        )
        .optional()?;
    let (version, hash) = match known {
        Some(known) => known,
        None => {
            let version = tx.query_one(
                "INSERT INTO version (uuid, algorithm, hash, image, document, created_at)
                 VALUES (?1, ?2, ?3, ?4, '{}', ?5)
                 ON CONFLICT (algorithm, hash) DO UPDATE SET image = excluded.image RETURNING id",
                (Uuid::new_v4().to_string(), algorithm, built.hash.as_str(), image, now),
                |row| row.get(0),
            )?;
            (version, built.hash.clone())
        }
    };
    for tag in [hash.as_str(), built.tag.as_str()] {
        tx.execute(
            "INSERT INTO image_tag (image, tag, resolved_at, revision) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (image, tag) DO UPDATE SET resolved_at = excluded.resolved_at,
                 revision = excluded.revision",
            (image, tag, now, revision),
        )?;
    }
    Ok((version, hash))
}

pub(crate) fn publish(
    tx: &Transaction<'_>,
    seal: &SealKey,
    publication: &Publication,
) -> Result<Version, PublishError> {
    let Some(algorithm) = algorithms::row_id(tx, publication.algorithm).map_err(StoreError::from)? else {
        return Err(PublishError::Unknown);
    };
    let newest = latest_row(tx, algorithm).map_err(StoreError::from)?;
    let (version, published) = newest.ok_or(PublishError::NeverBuilt)?;
    if published {
        return Err(PublishError::AlreadyPublished);
    }
    if let Some(push) = &publication.push {
        pushes::enqueue(tx, seal, version, push, Asked::ByPublish)??;
    }
    algorithms::update(tx, publication.algorithm, &publication.algorithm_change)?;
    let number = || -> rusqlite::Result<Version> {
        let highest = tx
            .query_one(
                "SELECT major, minor, patch FROM version WHERE algorithm = ?1 AND published_at IS NOT NULL
                 ORDER BY major DESC, minor DESC, patch DESC LIMIT 1",
                [algorithm],
                number_from_row,
            )
            .optional()?
            .flatten();
        let number = SemanticVersion::after(highest, publication.raise);
        tx.execute(
            "UPDATE version SET major = ?2, minor = ?3, patch = ?4, document = ?5, published_at = ?6
             WHERE id = ?1",
            (
                version,
                number.major,
                number.minor,
                number.patch,
                publication.document.to_string(),
                columns::now(tx)?,
            ),
        )?;
        reread(tx, version)
    };
    Ok(number().map_err(StoreError::from)?)
}

pub(crate) fn list(
    db: &Connection,
    algorithm: Uuid,
    filter: VersionFilter,
    page: PageRequest,
) -> Result<Option<Vec<Version>>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(Some(Vec::new())) };
    let before = match page.after {
        None => i64::MAX,
        Some(marker) => {
            let found = db
                .query_one(
                    "SELECT id FROM version WHERE uuid = ?1 AND algorithm = ?2",
                    (marker.to_string(), algorithm),
                    |row| row.get(0),
                )
                .optional()?;
            let Some(id) = found else { return Ok(None) };
            id
        }
    };
    let mut statement = db.prepare_cached(&format!(
        "{SELECT} WHERE v.algorithm = ?1 AND v.id < ?2
           AND (?3 IS NULL OR ?3 = (v.published_at IS NOT NULL)) ORDER BY v.id DESC LIMIT ?4"
    ))?;
    let versions =
        statement.query_map((algorithm, before, filter.published, page.limit), |row| from_row(db, row))?;
    Ok(Some(versions.collect::<Result<_, _>>()?))
}

pub(crate) fn find(
    db: &Connection,
    algorithm: Uuid,
    hash: &VersionHash,
) -> Result<Option<Version>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(None) };
    Ok(db
        .prepare_cached(&format!("{SELECT} WHERE v.algorithm = ?1 AND v.hash = ?2"))?
        .query_one((algorithm, hash.as_str()), |row| from_row(db, row))
        .optional()?)
}

pub(crate) fn latest(db: &Connection, algorithm: Uuid) -> Result<Option<Version>, StoreError> {
    let Some(algorithm) = algorithms::row_id(db, algorithm)? else { return Ok(None) };
    match latest_row(db, algorithm)? {
        Some((version, _)) => Ok(Some(reread(db, version)?)),
        None => Ok(None),
    }
}

/// The version of the newest successful build, and whether it is published.
fn latest_row(db: &Connection, algorithm: i64) -> rusqlite::Result<Option<(i64, bool)>> {
    db.prepare_cached(
        "SELECT v.id, v.published_at IS NOT NULL FROM build b JOIN version v ON v.id = b.version
         WHERE b.algorithm = ?1 ORDER BY b.id DESC LIMIT 1",
    )?
    .query_one([algorithm], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

fn reread(db: &Connection, version: i64) -> rusqlite::Result<Version> {
    db.prepare_cached(&format!("{SELECT} WHERE v.id = ?1"))?.query_one([version], |row| from_row(db, row))
}

fn from_row(db: &Connection, row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        uuid: columns::parsed(row, "uuid")?,
        hash: columns::parsed(row, "hash")?,
        digest: columns::parsed(row, "digest")?,
        number: number_from_row(row)?,
        document: columns::document(row, "document")?,
        created_at: columns::moment(row, "created_at")?,
        published_at: columns::moment_option(row, "published_at")?,
        build: builds::newest_of_version(db, row.get("id")?)?,
    })
}

fn number_from_row(row: &Row<'_>) -> rusqlite::Result<Option<SemanticVersion>> {
    Ok(match (row.get("major")?, row.get("minor")?, row.get("patch")?) {
        (Some(major), Some(minor), Some(patch)) => Some(SemanticVersion { major, minor, patch }),
        _ => None,
    })
}
