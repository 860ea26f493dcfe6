//! Statements that ask for pushes and read their records.

use domain::credentials::Credentials;
use domain::push::PushStatus;
use domain::registry::{Address, RegistryId};
use domain::version::VersionHash;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::{columns, holds, registries};
use crate::seal::SealKey;
use crate::{PushRecord, PushRefused, PushRequest, StoreError};

/// A push that succeeded shows the address where that was proven, any other the one it is meant for. One
/// that waits for its registry, rather than for its own next try, shows why that is on hold; one that is under
/// way once more, how its last try failed.
const SELECT: &str = "SELECT p.*, CASE WHEN p.status = 'in-progress' AND p.message IS NOT NULL
            THEN (SELECT 'try ' || p.attempts || ' is under way; the last one failed: ' || message FROM attempt
                  WHERE push = p.id AND message IS NOT NULL ORDER BY lease DESC LIMIT 1)
            ELSE coalesce(p.message, CASE WHEN r.deleted_at IS NOT NULL
                THEN 'the registry was deleted since; no pod is sent there any more' END) END AS told,
        r.uuid AS registry_uuid, i.digest,
        coalesce(CASE p.status WHEN 'succeeded' THEN proven.address END, a.address) AS url,
        h.*, EXISTS (SELECT 1 FROM push WHERE id = h.probe AND lease = h.probe_lease AND status = 'in-progress') AS probed
    FROM push p JOIN registry r ON r.id = p.registry JOIN registry_address a ON a.id = r.address
         JOIN image i ON i.id = p.image
         LEFT JOIN route o ON o.image = p.image AND o.registry = p.registry
         LEFT JOIN registry_address proven ON proven.id = o.address
         LEFT JOIN registry_hold h ON h.registry = p.registry AND p.status = 'pending'
             AND (p.reason IS NULL OR p.due_at < h.held_until)";

/// What asks for a push.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A compile.
    ByCompile,
    /// A publication: it goes before the rest of its owner's.
    ByPublish,
    /// Somebody who wants it to be tried now, whatever it waits for.
    Again,
}

/// Asks for a push of a version's current image. Refusals come first: nothing is written then.
pub(super) fn enqueue(
    tx: &Transaction<'_>,
    seal: &SealKey,
    version: i64,
    request: &PushRequest,
    asked: Asked,
) -> Result<Result<(), PushRefused>, StoreError> {
    let registry = tx
        .prepare_cached(
            "SELECT r.id, r.cordoned_at, a.address FROM registry r JOIN registry_address a ON a.id = r.address
             WHERE r.uuid = ?1 AND r.deleted_at IS NULL",
        )?
        .query_one([request.registry.to_string()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, columns::parsed::<Address>(row, "address")?))
        })
        .optional()?;
    let Some((registry, cordoned_at, address)) = registry else {
        return Ok(Err(PushRefused::RegistryUnknown));
    };
    if cordoned_at.is_some() {
        return Ok(Err(PushRefused::RegistryCordoned));
    }
    let (image, owner, repository, hash) = tx
        .prepare_cached(
            "SELECT v.image, l.owner, i.repository, v.hash FROM version v JOIN image i ON i.id = v.image
                 JOIN algorithm l ON l.id = v.algorithm WHERE v.id = ?1",
        )?
        .query_one([version], |row| {
            let hash: VersionHash = columns::parsed(row, "hash")?;
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?.to_lowercase(),
                columns::parsed(row, "repository")?,
                hash,
            ))
        })?;
    if address.reference(&repository, hash.tag()).is_err() {
        return Ok(Err(PushRefused::ReferenceTooLong));
    }
    let (push, generation): (i64, i64) = tx
        .prepare_cached(
            "INSERT INTO push (registry, repository, tag, version, image, owner, published, generation,
                               requested_at, status, due_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, 'pending', ?8, ?8)
             ON CONFLICT (registry, repository, tag) DO UPDATE SET
                 version = excluded.version, image = excluded.image, owner = excluded.owner,
                 -- What a publication waits for does not fall back because it is asked for once more.
                 published = max(excluded.published, published AND status IN ('pending', 'in-progress')),
                 generation = generation + 1,
                 requested_at = excluded.requested_at, updated_at = excluded.updated_at,
                 -- A running push keeps its worker, which lets go once it sees the new generation.
                 status = CASE status WHEN 'in-progress' THEN status ELSE 'pending' END,
                 due_at = CASE status WHEN 'in-progress' THEN NULL ELSE excluded.due_at END,
                 reason = NULL, message = NULL, pullable = NULL, attempts = 0, tries = 0, first_try_at = NULL,
                 down_since = NULL, bytes_done = 0, bytes_total = 0
             RETURNING id, generation",
        )?
        .query_one(
            (
                registry,
                repository.to_string(),
                hash.as_str(),
                version,
                image,
                owner,
                asked == Asked::ByPublish,
                columns::now(tx)?,
            ),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    if asked == Asked::Again {
        holds::ask(tx, registry, push)?;
    }
    tx.prepare_cached("DELETE FROM push_credentials WHERE push = ?1")?.execute([push])?;
    if let Some(login) = &request.login {
        let sealed = seal.seal_login(login, &login_place(push, generation, &address))?;
        tx.prepare_cached("INSERT INTO push_credentials (push, generation, sealed) VALUES (?1, ?2, ?3)")?
            .execute((push, generation, sealed))?;
    }
    Ok(Ok(()))
}

/// What the login of one push is bound to.
pub(super) fn login_place(push: i64, generation: i64, address: &Address) -> String {
    format!("push_credentials {push} {generation} {}", registries::host(address))
}

pub(crate) fn request(
    tx: &Transaction<'_>,
    seal: &SealKey,
    algorithm: Uuid,
    hash: &VersionHash,
    registry: Option<RegistryId>,
    login: Option<&Credentials>,
) -> Result<Option<Result<(), PushRefused>>, StoreError> {
    let Some(version) = version_row(tx, algorithm, hash)? else { return Ok(None) };
    let registry = match registry {
        Some(registry) => Some(registry),
        None => tx
            .prepare_cached(
                "SELECT r.uuid FROM push p JOIN registry r ON r.id = p.registry
                 WHERE p.version = ?1 AND r.deleted_at IS NULL ORDER BY p.requested_at DESC, p.id DESC LIMIT 1",
            )?
            .query_one([version], |row| columns::registry_id(row, "uuid"))
            .optional()?,
    };
    let Some(registry) = registry else { return Ok(None) };
    enqueue(tx, seal, version, &PushRequest { registry, login: login.cloned() }, Asked::Again).map(Some)
}

pub(crate) fn of_version(
    db: &Connection,
    algorithm: Uuid,
    hash: &VersionHash,
) -> Result<Vec<PushRecord>, StoreError> {
    let Some(version) = version_row(db, algorithm, hash)? else { return Ok(Vec::new()) };
    let mut statement =
        db.prepare_cached(&format!("{SELECT} WHERE p.version = ?1 ORDER BY p.requested_at DESC, p.id DESC"))?;
    Ok(statement.query_map([version], from_row)?.collect::<Result<_, _>>()?)
}

/// The push of a version that was asked for last.
pub(super) fn latest(db: &Connection, version: i64) -> rusqlite::Result<Option<PushRecord>> {
    db.prepare_cached(&format!(
        "{SELECT} WHERE p.version = ?1 ORDER BY p.requested_at DESC, p.id DESC LIMIT 1"
    ))?
    .query_one([version], from_row)
    .optional()
}

/// The pushes of an image that are under way or failed.
pub(super) fn not_succeeded(db: &Connection, image: i64) -> rusqlite::Result<Vec<PushRecord>> {
    db.prepare_cached(&not_succeeded_sql())?.query_map([image], from_row)?.collect()
}

pub(super) fn not_succeeded_sql() -> String {
    format!("{SELECT} WHERE p.image = ?1 AND p.status <> 'succeeded'")
}

fn version_row(db: &Connection, algorithm: Uuid, hash: &VersionHash) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT v.id FROM version v JOIN algorithm a ON a.id = v.algorithm
         WHERE a.uuid = ?1 AND a.deleted_at IS NULL AND v.hash = ?2",
    )?
    .query_one((algorithm.to_string(), hash.as_str()), |row| row.get(0))
    .optional()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<PushRecord> {
    let address: Address = columns::parsed(row, "url")?;
    let (repository, tag) = (columns::parsed(row, "repository")?, columns::parsed(row, "tag")?);
    let (reason, message) = match holds::from_row(row)? {
        Some(hold) => (Some(hold.reason), Some(hold.told(row.get("probed")?))),
        None => (columns::parsed_option(row, "reason")?, row.get("told")?),
    };
    let status = columns::parsed(row, "status")?;
    let attempts: u32 = row.get("attempts")?;
    Ok(PushRecord {
        registry: columns::registry_id(row, "registry_uuid")?,
        status,
        reason,
        message,
        pullable: columns::parsed_option(row, "pullable")?,
        // Asked for again under way, it has a try that began before.
        attempts: if status == PushStatus::InProgress { attempts.max(1) } else { attempts },
        bytes_done: columns::count(row, "bytes_done")?,
        bytes_total: columns::count(row, "bytes_total")?,
        digest: columns::parsed(row, "digest")?,
        image: address.reference(&repository, &tag).map_err(|error| columns::unreadable("url", &error))?,
        updated_at: columns::moment(row, "updated_at")?,
    })
}
