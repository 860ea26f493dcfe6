//! Statements of the pods that auditors see. A pod is compared before it is written, so that a restart,
//! or a second auditor, writes nothing that is there already.

use domain::Timestamp;
use domain::fact::Revision;
use domain::pod::PodState;
use domain::registry::RegistryId;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::columns::{self, kept};
use crate::{AuditedImage, AuditedPod, PageRequest, PodName, PodsOn, Recreator, StoreError};

const SELECT: &str = "SELECT uid, namespace, name, owner, created_at FROM pod";

pub(crate) fn record(
    tx: &Transaction<'_>,
    pods: &[AuditedPod],
    gone: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let mut forget = tx.prepare_cached("DELETE FROM pod WHERE uid = ?1")?;
    for uid in gone {
        forget.execute([uid.to_string()])?;
    }
    let mut of_uid = tx.prepare_cached(&format!("{SELECT} WHERE uid = ?1"))?;
    let mut strays = Vec::new();
    for pod in pods {
        let uid = pod.uid.to_string();
        let before = of_uid.query_one([&uid], |row| from_row(tx, row)).optional()?;
        if before.as_ref() == Some(pod) {
            continue;
        }
        forget.execute([&uid])?;
        insert(tx, &uid, pod)?;
        let was_stray = before.is_some_and(|before| before.state() == PodState::Stray);
        if pod.state() == PodState::Stray && !was_stray {
            strays.push(pod.uid);
        }
    }
    Ok(strays)
}

fn insert(tx: &Transaction<'_>, uid: &str, pod: &AuditedPod) -> rusqlite::Result<()> {
    let PodName { namespace, name } = &pod.name;
    let created_at = columns::ms(pod.created_at);
    tx.prepare_cached(
        "INSERT INTO pod (uid, namespace, name, owner, state, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((uid, namespace, name, &pod.owner, pod.state().as_str(), created_at))?;
    let mut add = tx.prepare_cached(
        "INSERT INTO pod_image (pod, entry, image, asked, state, registry, why)
         VALUES (?1, ?2, ?3, ?4, ?5, (SELECT id FROM registry WHERE uuid = ?6), ?7)",
    )?;
    for AuditedImage { entry, image, asked, state, registry, why } in &pod.images {
        let registry = registry.map(|registry| registry.to_string());
        add.execute((uid, entry, image, asked, state.as_str(), registry, why))?;
    }
    Ok(())
}

pub(crate) fn recorded(db: &Connection) -> Result<Vec<Uuid>, StoreError> {
    let mut statement = db.prepare_cached("SELECT uid FROM pod")?;
    Ok(statement.query_map([], |row| columns::parsed(row, 0))?.collect::<Result<_, _>>()?)
}

pub(crate) fn seen(tx: &Transaction<'_>, recreators: &[(String, String, u64)]) -> Result<(), StoreError> {
    let now = columns::now(tx)?;
    tx.prepare_cached(
        "INSERT INTO audit (one, seen_at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at",
    )?
    .execute([now])?;
    for (namespace, owner, pods) in recreators {
        tx.prepare_cached(
            "INSERT INTO recreator (namespace, owner, pods, seen_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET pods = excluded.pods, seen_at = excluded.seen_at",
        )?
        .execute((namespace, owner, kept(*pods), now))?;
    }
    tx.prepare_cached("DELETE FROM recreator WHERE seen_at < ?1 - 3600 * 1000")?.execute([now])?;
    Ok(())
}

pub(crate) fn seen_at(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached("SELECT seen_at FROM audit")?.query_one([], |row| columns::moment(row, 0)).optional()
}

pub(crate) fn list(
    db: &Connection,
    state: Option<PodState>,
    page: PageRequest,
) -> Result<Vec<AuditedPod>, StoreError> {
    let of_state = if state.is_some() { "state = ?1" } else { "?1 IS NULL" };
    let mut statement =
        db.prepare_cached(&format!("{SELECT} WHERE {of_state} AND uid > ?2 ORDER BY uid LIMIT ?3"))?;
    let after = page.after.map(|uid| uid.to_string()).unwrap_or_default();
    let pods = statement
        .query_map((state.map(PodState::as_str), after, page.limit), |row| from_row(db, row))?
        .collect::<Result<_, _>>()?;
    Ok(pods)
}

pub(crate) fn find(db: &Connection, name: &PodName) -> Result<Option<AuditedPod>, StoreError> {
    // The one of a stateful set and its successor are there together for a moment.
    let mut statement = db.prepare_cached(&format!(
        "{SELECT} WHERE namespace = ?1 AND name = ?2 ORDER BY created_at DESC LIMIT 1"
    ))?;
    Ok(statement.query_one((&name.namespace, &name.name), |row| from_row(db, row)).optional()?)
}

pub(crate) fn on(db: &Connection, registry: RegistryId, first: u32) -> Result<PodsOn, StoreError> {
    const OF_REGISTRY: &str =
        "SELECT pod FROM pod_image WHERE registry = (SELECT id FROM registry WHERE uuid = ?1)";
    let registry = registry.to_string();
    let count = db
        .prepare_cached(&format!("SELECT count(DISTINCT pod) FROM ({OF_REGISTRY})"))?
        .query_one([&registry], |row| columns::count(row, 0))?;
    let first = db
        .prepare_cached(&format!(
            "SELECT namespace, name FROM pod WHERE uid IN ({OF_REGISTRY}) ORDER BY namespace, name LIMIT ?2"
        ))?
        .query_map((&registry, first), |row| Ok(PodName { namespace: row.get(0)?, name: row.get(1)? }))?
        .collect::<Result<_, _>>()?;
    Ok(PodsOn { count, first })
}

pub(crate) fn strays(db: &Connection) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached("SELECT count(*) FROM pod WHERE state = ?1")?;
    Ok(statement.query_one([PodState::Stray.as_str()], |row| columns::count(row, 0))?)
}

pub(crate) fn routed_since(
    db: &Connection,
    revisions: &[Revision],
) -> Result<Vec<(Revision, Timestamp)>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT min(every.succeeded_at) FROM route one JOIN route every ON every.image = one.image
         WHERE one.revision = ?1",
    )?;
    let mut times = Vec::new();
    for revision in revisions {
        let at = statement.query_one([kept(revision.0)], |row| columns::moment_option(row, 0))?;
        times.extend(at.map(|at| (*revision, at)));
    }
    Ok(times)
}

pub(crate) fn recreators(db: &Connection) -> Result<Vec<Recreator>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT namespace, owner, pods, seen_at FROM recreator ORDER BY seen_at DESC, 1, 2",
    )?;
    let recreators = statement.query_map([], |row| {
        Ok(Recreator {
            namespace: row.get(0)?,
            owner: row.get(1)?,
            pods: columns::count(row, 2)?,
            seen_at: columns::moment(row, 3)?,
        })
    })?;
    Ok(recreators.collect::<Result<_, _>>()?)
}

fn from_row(db: &Connection, row: &Row<'_>) -> rusqlite::Result<AuditedPod> {
    let uid: Uuid = columns::parsed(row, "uid")?;
    let mut images = db.prepare_cached(
        "SELECT i.entry, i.image, i.asked, i.state, r.uuid, i.why
         FROM pod_image i LEFT JOIN registry r ON r.id = i.registry WHERE i.pod = ?1 ORDER BY i.entry",
    )?;
    let images = images.query_map([row.get_ref("uid")?.as_str()?], image_from_row)?;
    Ok(AuditedPod {
        uid,
        name: PodName { namespace: row.get("namespace")?, name: row.get("name")? },
        owner: row.get("owner")?,
        created_at: columns::moment(row, "created_at")?,
        images: images.collect::<Result<_, _>>()?,
    })
}

fn image_from_row(row: &Row<'_>) -> rusqlite::Result<AuditedImage> {
    Ok(AuditedImage {
        entry: row.get(0)?,
        image: row.get(1)?,
        asked: row.get(2)?,
        state: columns::parsed(row, 3)?,
        registry: columns::parsed_option::<Uuid>(row, 4)?.map(RegistryId),
        why: row.get(5)?,
    })
}
