//! Statements of the worker: claim, renew, finish, fail, release. Each names the lease it holds.

use std::time::Duration;

use domain::Timestamp;
use domain::push::{self, Failure, Moved, Next, Pullable, Reason, RetryPolicy, Tries};
use domain::registry::Address;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::columns::{self, kept};
use super::{pushes, registries};
use crate::seal::{SealError, SealKey};
use crate::{Claim, Failed, Finished, StoreError};

/// How many tries of a push are kept for people.
const ATTEMPTS_KEPT: i64 = 20;

/// What a worker holds: the push, and what it was when it was claimed.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    push: i64,
    generation: i64,
    lease: i64,
    image: i64,
    address: i64,
}

impl Held {
    /// Of a claim.
    pub(crate) fn of(claim: &Claim) -> Self {
        let Claim { push, generation, lease, image, address, .. } = *claim;
        Self { push, generation, lease, image, address }
    }
}

pub(crate) fn anything_due(db: &Connection) -> Result<bool, StoreError> {
    let (now, next) = (columns::now(db)?, next_due_ms(db)?);
    Ok(next.is_some_and(|due| due <= now))
}

pub(crate) fn next_due(db: &Connection) -> Result<Option<Timestamp>, StoreError> {
    match next_due_ms(db)? {
        Some(ms) => columns::at(ms)
            .map(Some)
            .map_err(|_| StoreError::Unreadable("a due time out of range".to_owned())),
        None => Ok(None),
    }
}

/// One look into the partial index of each registry, however many pushes wait there.
fn next_due_ms(db: &Connection) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT min(at) FROM (
             SELECT (SELECT min(due_at) FROM push WHERE registry = r.id AND status = 'pending') AS at
             FROM registry r WHERE r.deleted_at IS NULL
             UNION ALL SELECT min(leased_until) FROM push WHERE status = 'in-progress')",
    )?
    .query_one([], |row| row.get(0))
}

pub(crate) fn claim(
    tx: &Transaction<'_>,
    seal: &SealKey,
    worker: &str,
    lease: Duration,
) -> Result<Option<Claim>, StoreError> {
    let now = columns::now(tx)?;
    // The tries of a worker that died do not count, so its pushes are simply due again.
    tx.prepare_cached(
        "UPDATE push SET status = 'pending', due_at = ?1, leased_until = NULL, leased_by = NULL
         WHERE status = 'in-progress' AND leased_until <= ?1",
    )?
    .execute([now])?;
    while let Some(push) = longest_waiting(tx, now)? {
        match take(tx, seal, push, worker, lease, now)? {
            Ok(claim) => return Ok(Some(claim)),
            // One damaged row must not stop all the others.
            Err(error) => refuse(tx, push, &error, now)?,
        }
    }
    Ok(None)
}

fn longest_waiting(tx: &Transaction<'_>, now: i64) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached(
        "SELECT p.id FROM registry r JOIN push p ON p.id = (
             SELECT id FROM push WHERE registry = r.id AND status = 'pending' AND due_at <= ?1
             ORDER BY due_at LIMIT 1)
         WHERE r.deleted_at IS NULL
         ORDER BY (SELECT count(*) FROM push WHERE registry = r.id AND status = 'in-progress'), p.due_at
         LIMIT 1",
    )?
    .query_one([now], |row| row.get(0))
    .optional()
}

fn take(
    tx: &Transaction<'_>,
    seal: &SealKey,
    push: i64,
    worker: &str,
    lease: Duration,
    now: i64,
) -> rusqlite::Result<Result<Claim, SealError>> {
    tx.prepare_cached(
        "UPDATE push SET status = 'in-progress', due_at = NULL, lease = lease + 1, leased_by = ?2,
             leased_until = ?3, claimed_at = ?4, attempts = attempts + 1,
             first_try_at = coalesce(first_try_at, ?4), bytes_done = 0, bytes_total = 0, updated_at = ?4
         WHERE id = ?1",
    )?
    .execute((push, worker, until(now, lease), now))?;
    tx.prepare_cached(
        "SELECT p.*, r.uuid, a.address AS url, r.address AS address_id, i.source, i.digest,
                c.sealed AS own_login, s.sealed AS stored_login
         FROM push p JOIN registry r ON r.id = p.registry JOIN registry_address a ON a.id = r.address
              JOIN image i ON i.id = p.image
              LEFT JOIN push_credentials c ON c.push = p.id AND c.generation = p.generation
              LEFT JOIN registry_credentials s ON s.registry = r.id
         WHERE p.id = ?1",
    )?
    .query_one([push], |row| claim_from_row(row, seal))
}

fn refuse(tx: &Transaction<'_>, push: i64, error: &SealError, now: i64) -> rusqlite::Result<()> {
    let message = format!("the stored credentials cannot be read ({error}); give them again and push again");
    tx.execute(
        "UPDATE push SET status = 'failed', reason = ?2, message = ?3, leased_until = NULL, leased_by = NULL,
             lease = lease + 1, updated_at = ?4
         WHERE id = ?1",
        (push, Reason::Internal.as_str(), message, now),
    )?;
    Ok(())
}

fn claim_from_row(row: &Row<'_>, seal: &SealKey) -> rusqlite::Result<Result<Claim, SealError>> {
    let (push, generation) = (row.get("id")?, row.get("generation")?);
    let registry = columns::registry_id(row, "uuid")?;
    let destination: Address = columns::parsed(row, "url")?;
    let open = |column: &str, place: String| -> rusqlite::Result<_> {
        let sealed: Option<Vec<u8>> = row.get(column)?;
        Ok(sealed.map(|sealed| seal.unseal_login(&sealed, &place)).transpose())
    };
    let own = open("own_login", pushes::login_place(push, generation, &destination))?;
    let stored = open("stored_login", registries::login_place(registry, &destination))?;
    let (own, stored) = match (own, stored) {
        (Ok(own), Ok(stored)) => (own, stored),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    Ok(Ok(Claim {
        push,
        generation,
        lease: row.get("lease")?,
        image: row.get("image")?,
        address: row.get("address_id")?,
        registry,
        repository: columns::parsed(row, "repository")?,
        tag: columns::parsed(row, "tag")?,
        source: columns::parsed(row, "source")?,
        digest: columns::parsed(row, "digest")?,
        push_login: own.or_else(|| stored.clone()),
        read_login: stored,
        destination,
        attempt: row.get("attempts")?,
        claimed_at: columns::moment(row, "claimed_at")?,
    }))
}

pub(crate) fn renew(
    tx: &Transaction<'_>,
    held: Held,
    lease: Duration,
    bytes_done: u64,
    bytes_total: u64,
) -> Result<bool, StoreError> {
    let now = columns::now(tx)?;
    let renewed = tx
        .prepare_cached(
            "UPDATE push SET leased_until = ?3, bytes_done = ?4, bytes_total = ?5,
                 updated_at = CASE WHEN bytes_done = ?4 AND bytes_total = ?5 THEN updated_at ELSE ?6 END
             WHERE id = ?1 AND lease = ?2 AND status = 'in-progress'",
        )?
        .execute((held.push, held.lease, until(now, lease), kept(bytes_done), kept(bytes_total), now))?;
    Ok(renewed > 0)
}

pub(crate) fn finish(
    tx: &Transaction<'_>,
    held: Held,
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
    held: Held,
    failure: &Failure,
    policy: RetryPolicy,
    jitter: f64,
) -> Result<Failed, StoreError> {
    let Some(state) = State::read(tx, held)? else { return Ok(Failed::LeaseLost) };
    let now = columns::now(tx)?;
    note_attempt(tx, held, &state, now, Err((failure.reason, &failure.message)))?;
    if state.generation != held.generation {
        due_again(tx, held, now)?;
        return Ok(Failed::Outdated);
    }
    let moment =
        columns::at(now).map_err(|_| StoreError::Unreadable("the clock is out of range".to_owned()))?;
    let next = push::after_failure(state.tries, failure, policy, moment, jitter);
    let (status, due_at, tries) = match next {
        Next::Again { due_at, tries } => ("pending", Some(due_at), tries),
        Next::Over => ("failed", None, state.tries),
    };
    let message = push::waiting_message(failure, &next, policy);
    tx.prepare_cached(
        "UPDATE push SET status = ?2, due_at = ?3, reason = ?4, message = ?5, tries = ?6, first_try_at = ?7,
             down_since = ?8, leased_until = NULL, leased_by = NULL, updated_at = ?9
         WHERE id = ?1",
    )?
    .execute((
        held.push,
        status,
        due_at.map(columns::ms),
        failure.reason.as_str(),
        message,
        tries.counted,
        columns::ms(tries.first_at),
        tries.down_since.map(columns::ms),
        now,
    ))?;
    if next == Next::Over {
        wipe_login(tx, held)?;
    }
    Ok(due_at.map_or(Failed::Over, Failed::Again))
}

pub(crate) fn release(tx: &Transaction<'_>, held: Held) -> Result<(), StoreError> {
    if State::read(tx, held)?.is_some() {
        due_again(tx, held, columns::now(tx)?)?;
    }
    Ok(())
}

/// What a held push has become since it was claimed.
struct State {
    generation: i64,
    claimed_at: i64,
    tries: Tries,
}

impl State {
    /// `None` when the lease is lost.
    fn read(tx: &Transaction<'_>, held: Held) -> rusqlite::Result<Option<Self>> {
        tx.prepare_cached(
            "SELECT generation, claimed_at, tries, coalesce(first_try_at, claimed_at) AS first_at, down_since
             FROM push WHERE id = ?1 AND lease = ?2 AND status = 'in-progress'",
        )?
        .query_one((held.push, held.lease), |row| {
            Ok(Self {
                generation: row.get("generation")?,
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

fn due_again(tx: &Transaction<'_>, held: Held, now: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE push SET status = 'pending', due_at = ?2, leased_until = NULL, leased_by = NULL, updated_at = ?2
         WHERE id = ?1",
    )?
    .execute((held.push, now))?;
    Ok(())
}

/// The login of the generation that has ended; a newer generation's stays.
fn wipe_login(tx: &Transaction<'_>, held: Held) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM push_credentials WHERE push = ?1 AND generation <= ?2")?
        .execute((held.push, held.generation))?;
    Ok(())
}

fn note_attempt(
    tx: &Transaction<'_>,
    held: Held,
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
        held.lease,
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
        .execute((held.push, held.lease - ATTEMPTS_KEPT))?;
    Ok(())
}

fn until(now: i64, lease: Duration) -> i64 {
    now.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}
