//! Statements of registries on hold. Whether and until when is `domain::push::Hold`'s to decide.

use domain::Timestamp;
use domain::push::{self, Failure, Hold, Looked};
use rusqlite::{Row, Transaction};

use super::columns;
use crate::{Lease, StoreError};

/// Pushes that are given up in one transaction.
const GIVEN_UP_TOGETHER: i64 = 1_000;

/// The hold of a row that was joined with `registry_hold`, if there is one.
pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<Hold>> {
    let Some(until) = columns::moment_option(row, "held_until")? else { return Ok(None) };
    Ok(Some(Hold {
        since: columns::moment(row, "held_since")?,
        failures: row.get("failures")?,
        until,
        reason: columns::parsed(row, "hold_reason")?,
        message: row.get("hold_message")?,
    }))
}

/// The push looks whether the registry is back; the others wait for that.
pub(super) fn probed_by(tx: &Transaction<'_>, registry: i64, lease: &Lease) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE registry_hold SET probe = ?2, probe_lease = ?3, asked = nullif(asked, ?2) WHERE registry = ?1",
    )?
    .execute((registry, lease.push, lease.number))?;
    Ok(())
}

/// Somebody wants this push to be tried now: it is the next probe.
pub(super) fn ask(tx: &Transaction<'_>, registry: i64, push: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE registry_hold SET asked = ?2 WHERE registry = ?1")?
        .execute((registry, push))?;
    Ok(())
}

/// What a failed try makes of the hold of its registry.
pub(super) fn note_failure(
    tx: &Transaction<'_>,
    held: Lease,
    failure: &Failure,
    now: Timestamp,
    jitter: f64,
) -> Result<Option<Hold>, StoreError> {
    let (registry, before, looked) = tx
        .prepare_cached(
            "SELECT p.registry, h.*, coalesce(h.probe = p.id AND h.probe_lease = p.lease, 0) AS is_probe,
                    EXISTS (SELECT 1 FROM push_credentials WHERE push = p.id AND generation = ?2) AS own_login
             FROM push p LEFT JOIN registry_hold h ON h.registry = p.registry WHERE p.id = ?1",
        )?
        .query_one((held.push, held.generation), |row| {
            let looked = Looked { is_probe: row.get("is_probe")?, with_own_login: row.get("own_login")? };
            Ok((row.get::<_, i64>("registry")?, from_row(row)?, looked))
        })?;
    let hold = Hold::after(before, looked, failure, now, jitter);
    match &hold {
        Some(hold) => {
            keep(tx, registry, hold)?;
            give_up(tx, registry, hold, now)?;
        }
        // Whatever failed, the registry answers.
        None if looked.is_probe => forget(tx, registry)?,
        None => {}
    }
    Ok(hold)
}

fn keep(tx: &Transaction<'_>, registry: i64, hold: &Hold) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO registry_hold (registry, held_since, held_until, failures, hold_reason, hold_message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (registry) DO UPDATE SET held_until = excluded.held_until, failures = excluded.failures,
             hold_reason = excluded.hold_reason, hold_message = excluded.hold_message",
    )?
    .execute((
        registry,
        columns::ms(hold.since),
        columns::ms(hold.until),
        hold.failures,
        hold.reason.as_str(),
        &hold.message,
    ))?;
    Ok(())
}

/// Ends what has waited for too long, in steps: the next probe ends more.
fn give_up(tx: &Transaction<'_>, registry: i64, hold: &Hold, now: Timestamp) -> rusqlite::Result<()> {
    let Some(due_since) = hold.given_up_at(now) else { return Ok(()) };
    let old: Vec<i64> = tx
        .prepare_cached(
            "SELECT id FROM push WHERE registry = ?1 AND status = 'pending' AND due_at <= ?2 LIMIT ?3",
        )?
        .query_map((registry, columns::ms(due_since), GIVEN_UP_TOGETHER), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let message = push::given_up(&hold.message);
    for push in old {
        tx.prepare_cached(
            "UPDATE push SET status = 'failed', due_at = NULL, reason = ?2, message = ?3, updated_at = ?4
             WHERE id = ?1",
        )?
        .execute((push, hold.reason.as_str(), &message, columns::ms(now)))?;
        tx.prepare_cached("DELETE FROM push_credentials WHERE push = ?1")?.execute([push])?;
    }
    Ok(())
}

/// The probe has got an answer: all others go on. Whether this was the probe.
pub(crate) fn lift(tx: &Transaction<'_>, probe: Lease) -> Result<bool, StoreError> {
    let lifted = tx
        .prepare_cached("DELETE FROM registry_hold WHERE probe = ?1 AND probe_lease = ?2")?
        .execute((probe.push, probe.number))?;
    Ok(lifted > 0)
}

/// A push has succeeded, so its registry is there.
pub(super) fn end(tx: &Transaction<'_>, held: Lease) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM registry_hold WHERE registry = (SELECT registry FROM push WHERE id = ?1)",
    )?
    .execute([held.push])?;
    Ok(())
}

/// The registry is no longer what it was.
pub(super) fn forget(tx: &Transaction<'_>, registry: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM registry_hold WHERE registry = ?1")?.execute([registry])?;
    Ok(())
}
