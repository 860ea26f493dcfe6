//! Statements of the worker: claim, renew, finish, fail, release. Each names the lease it holds.

mod claim;

use std::time::Duration;

use domain::Timestamp;
use domain::push::{self, Failure, Moved, Next, Pullable, Reason, RetryPolicy, Tries};
use rusqlite::{Connection, OptionalExtension as _, Transaction};

pub(crate) use claim::{anything_due, claim, next_due};

use super::columns::{self, kept};
use super::holds;
use crate::{Failed, Finished, Lease, Renewal, StoreError};

/// How many tries of a push are kept for people.
const ATTEMPTS_KEPT: i64 = 20;

pub(crate) fn renew(
    tx: &Transaction<'_>,
    renewals: &[Renewal],
    lease: Duration,
) -> Result<Vec<bool>, StoreError> {
    let now = columns::now(tx)?;
    let mut renew = tx.prepare_cached(
        "UPDATE push SET leased_until = ?3, bytes_done = ?4, bytes_total = ?5,
             updated_at = CASE WHEN bytes_done = ?4 AND bytes_total = ?5 THEN updated_at ELSE ?6 END
         WHERE id = ?1 AND lease = ?2 AND status = 'in-progress'",
    )?;
    let mut is_held = |renewal: &Renewal| {
        let Renewal { lease: held, bytes_done, bytes_total } = renewal;
        let (done, total) = (kept(*bytes_done), kept(*bytes_total));
        renew.execute((held.push, held.number, until(now, lease), done, total, now)).map(|rows| rows > 0)
    };
    Ok(renewals.iter().map(&mut is_held).collect::<Result<_, _>>()?)
}

pub(crate) fn held(db: &Connection, leases: &[Lease]) -> Result<Vec<bool>, StoreError> {
    let mut held =
        db.prepare_cached("SELECT 1 FROM push WHERE id = ?1 AND lease = ?2 AND status = 'in-progress'")?;
    Ok(leases.iter().map(|lease| held.exists((lease.push, lease.number))).collect::<Result<_, _>>()?)
}

pub(crate) fn finish(
    tx: &Transaction<'_>,
    held: Lease,
    moved: Moved,
    pullable: Pullable,
) -> Result<Finished, StoreError> {
    let Some(state) = State::read(tx, held)? else { return Ok(Finished::LeaseLost) };
    let now = columns::now(tx)?;
    note_attempt(tx, held, &state, now, Ok(moved))?;
    let current = state.generation == held.generation;
    if current {
        tx.prepare_cached(
            "UPDATE push SET status = 'succeeded', reason = NULL, message = NULL, pullable = ?2, leased_until = NULL,
                 leased_by = NULL, first_try_at = NULL, down_since = NULL, bytes_done = ?3, bytes_total = ?3,
                 updated_at = ?4
             WHERE id = ?1",
        )?
        .execute((held.push, pullable.as_str(), kept(moved.total()), now))?;
        wipe_login(tx, held)?;
    } else {
        due_again(tx, held, now)?;
    }
    holds::end(tx, held)?;
    // Last, so that revisions become visible in their order.
    tx.prepare_cached(
        "INSERT INTO route (image, registry, address, tag, succeeded_at, revision)
         SELECT ?2, registry, ?3, tag, ?4, ?5 FROM push WHERE id = ?1
         ON CONFLICT (image, registry) DO UPDATE SET address = excluded.address, tag = excluded.tag,
             succeeded_at = excluded.succeeded_at, revision = excluded.revision",
    )?
    .execute((held.push, held.image, held.address, now, columns::next_revision(tx)?))?;
    Ok(if current { Finished::Succeeded } else { Finished::Outdated })
}

pub(crate) fn fail(
    tx: &Transaction<'_>,
    held: Lease,
    failure: &Failure,
    policy: RetryPolicy,
    jitter: f64,
) -> Result<Failed, StoreError> {
    let Some(state) = State::read(tx, held)? else { return Ok(Failed::LeaseLost) };
    let now = columns::now(tx)?;
    note_attempt(tx, held, &state, now, Err((failure.reason, &failure.message)))?;
    let moment =
        columns::at(now).map_err(|_| StoreError::Unreadable("the clock is out of range".to_owned()))?;
    let hold = holds::note_failure(tx, held, failure, moment, jitter)?;
    if state.generation != held.generation {
        due_again(tx, held, now)?;
        return Ok(Failed::Outdated);
    }
    let tries = match &hold {
        Some(hold) if failure.registry_down => hold.waiting(state.tries, state.requested_at),
        _ => state.tries,
    };
    let next = push::after_failure(tries, failure, policy, moment, jitter);
    let (status, due_at, tries, reason) = match next {
        Next::Again { due_at, tries } => ("pending", Some(due_at), tries, Some(failure.reason)),
        // Due since the wait began, so that it is seen when that has lasted for too long.
        Next::Held { tries } => ("pending", tries.down_since, tries, None),
        Next::Over => ("failed", None, state.tries, Some(failure.reason)),
    };
    tx.prepare_cached(
        "UPDATE push SET status = ?2, due_at = ?3, reason = ?4, message = ?5, tries = ?6, first_try_at = ?7,
             down_since = ?8, leased_until = NULL, leased_by = NULL, updated_at = ?9
         WHERE id = ?1",
    )?
    .execute((
        held.push,
        status,
        due_at.map(columns::ms),
        reason.map(Reason::as_str),
        push::waiting_message(failure, &next, policy),
        tries.counted,
        columns::ms(tries.first_at),
        tries.down_since.map(columns::ms),
        now,
    ))?;
    if next == Next::Over {
        wipe_login(tx, held)?;
    }
    Ok(match next {
        Next::Again { due_at, .. } => Failed::Again(due_at),
        Next::Held { .. } => Failed::Held(hold.map_or(moment, |hold| hold.until)),
        Next::Over => Failed::Over,
    })
}

pub(crate) fn release(tx: &Transaction<'_>, held: Lease) -> Result<(), StoreError> {
    if State::read(tx, held)?.is_some() {
        due_again(tx, held, columns::now(tx)?)?;
    }
    Ok(())
}

/// What a held push has become since it was claimed.
struct State {
    generation: i64,
    requested_at: Timestamp,
    claimed_at: i64,
    tries: Tries,
}

impl State {
    /// `None` when the lease is lost.
    fn read(tx: &Transaction<'_>, held: Lease) -> rusqlite::Result<Option<Self>> {
        tx.prepare_cached(
            "SELECT generation, requested_at, claimed_at, tries, coalesce(first_try_at, claimed_at) AS first_at, down_since
             FROM push WHERE id = ?1 AND lease = ?2 AND status = 'in-progress'",
        )?
        .query_one((held.push, held.number), |row| {
            Ok(Self {
                generation: row.get("generation")?,
                requested_at: columns::moment(row, "requested_at")?,
                claimed_at: row.get("claimed_at")?,
                tries: Tries {
                    counted: row.get("tries")?,
                    first_at: columns::moment(row, "first_at")?,
                    down_since: columns::moment_option(row, "down_since")?,
                },
            })
        })
        .optional()
    }
}

fn due_again(tx: &Transaction<'_>, held: Lease, now: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE push SET status = 'pending', due_at = ?2, leased_until = NULL, leased_by = NULL, updated_at = ?2
         WHERE id = ?1",
    )?
    .execute((held.push, now))?;
    Ok(())
}

/// The login of the generation that has ended; a newer generation's stays.
fn wipe_login(tx: &Transaction<'_>, held: Lease) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM push_credentials WHERE push = ?1 AND generation <= ?2")?
        .execute((held.push, held.generation))?;
    Ok(())
}

fn note_attempt(
    tx: &Transaction<'_>,
    held: Lease,
    state: &State,
    now: i64,
    outcome: Result<Moved, (Reason, &str)>,
) -> Result<(), StoreError> {
    let (reason, message, moved) = match outcome {
        Ok(moved) => (None, None, moved),
        Err((reason, message)) => (Some(reason.as_str()), Some(message), Moved::default()),
    };
    tx.prepare_cached(
        "INSERT INTO attempt (push, lease, generation, started_at, ended_at, reason, message, bytes_uploaded,
             bytes_mounted, bytes_present) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        held.push,
        held.number,
        held.generation,
        state.claimed_at,
        now,
        reason,
        message,
        kept(moved.uploaded),
        kept(moved.mounted),
        kept(moved.present),
    ))?;
    tx.prepare_cached("DELETE FROM attempt WHERE push = ?1 AND lease <= ?2")?
        .execute((held.push, held.number - ATTEMPTS_KEPT))?;
    Ok(())
}

fn until(now: i64, lease: Duration) -> i64 {
    now.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}
