//! Claiming. Each look goes through a partial index, so that it costs the same however many pushes wait;
//! what it takes from which registry, in which order, is decided here.

use domain::Timestamp;
use domain::push::Reason;
use domain::registry::Address;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::until;
use crate::seal::{SealError, SealKey};
use crate::sqlite::{columns, holds, pushes, registries};
use crate::{Claim, Lease, StoreError, Worker};

/// Every registry with what decides whether anything may be claimed from it.
const LANES: &str = "SELECT r.id, r.turn, h.held_until,
        (SELECT min(due_at) FROM push WHERE registry = r.id AND status = 'pending') AS due_at,
        (SELECT count(*) FROM push WHERE registry = r.id AND status = 'in-progress' AND leased_by = ?1) AS running,
        EXISTS (SELECT 1 FROM push WHERE id = h.probe AND lease = h.probe_lease AND status = 'in-progress') AS probed,
        (SELECT id FROM push WHERE id = h.asked AND status = 'pending') AS asked
    FROM registry r LEFT JOIN registry_hold h ON h.registry = r.id
    WHERE r.deleted_at IS NULL";
const NEXT_LEASE_END: &str =
    "SELECT min(leased_until) FROM push INDEXED BY push_leased WHERE status = 'in-progress'";
/// The tries of a worker that died do not count, so its pushes are simply due again.
const TAKE_BACK: &str =
    "UPDATE push INDEXED BY push_leased SET status = 'pending', due_at = ?1, leased_until = NULL, leased_by = NULL
    WHERE status = 'in-progress' AND leased_until <= ?1";
const FIRST_OWNER: &str =
    "SELECT owner FROM push WHERE registry = ?1 AND status = 'pending' ORDER BY owner LIMIT 1";
const NEXT_OWNER: &str = "SELECT owner FROM push WHERE registry = ?1 AND status = 'pending' AND owner > ?2
    ORDER BY owner LIMIT 1";
/// The version that was published last comes first.
const PUBLISHED: &str = "SELECT id FROM push WHERE registry = ?1 AND status = 'pending' AND owner = ?2
    AND published = 1 AND due_at <= ?3 ORDER BY due_at DESC LIMIT 1";
const LONGEST_WAITING: &str = "SELECT id FROM push WHERE registry = ?1 AND status = 'pending' AND owner = ?2
    AND published = 0 AND due_at <= ?3 ORDER BY due_at LIMIT 1";

/// With so many under way to a registry, what was asked for before is doubted no more: many are asked
/// for together to be sure that nothing has to move, and that costs half as much again when every blob counts.
const FEW: u32 = 8;

/// One registry as the place where pushes queue up.
struct Lane {
    registry: i64,
    turn: String,
    due_at: Option<i64>,
    running: u32,
    hold: Option<LaneHold>,
}

struct LaneHold {
    until: i64,
    is_probed: bool,
    asked: Option<i64>,
}

impl Lane {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let until: Option<i64> = row.get("held_until")?;
        let hold = match until {
            Some(until) => Some(LaneHold { until, is_probed: row.get("probed")?, asked: row.get("asked")? }),
            None => None,
        };
        Ok(Self {
            registry: row.get("id")?,
            turn: row.get("turn")?,
            due_at: row.get("due_at")?,
            running: row.get("running")?,
            hold,
        })
    }

    /// From when on something may be claimed here; `None` when that takes another event.
    fn open_at(&self, worker: &Worker) -> Option<i64> {
        let due_at = self.due_at?;
        match &self.hold {
            // Somebody waits for the answer, even where all places are taken by pushes that hang.
            Some(LaneHold { asked: Some(_), .. }) => Some(0),
            _ if self.running >= worker.at_a_registry => None,
            None => Some(due_at),
            Some(LaneHold { is_probed: true, .. }) => None,
            Some(hold) => Some(due_at.max(hold.until)),
        }
    }

    /// The next push in the order of the lane: owners take turns, the one after the last has the next.
    fn next_push(&mut self, tx: &Transaction<'_>, now: i64) -> rusqlite::Result<Option<i64>> {
        if let Some(asked) = self.hold.as_mut().and_then(|hold| hold.asked.take()) {
            return Ok(Some(asked));
        }
        let Some(first) = self.owner_after(tx, &self.turn)? else { return Ok(None) };
        let mut owner = first.clone();
        loop {
            for class in [PUBLISHED, LONGEST_WAITING] {
                let found = tx
                    .prepare_cached(class)?
                    .query_one((self.registry, &owner, now), |row| row.get(0))
                    .optional()?;
                if found.is_some() {
                    self.turn = owner;
                    return Ok(found);
                }
            }
            match self.owner_after(tx, &owner)? {
                Some(next) if next != first => owner = next,
                _ => return Ok(None),
            }
        }
    }

    /// The owner after this one who has a pending push here; after the last the first.
    fn owner_after(&self, tx: &Transaction<'_>, owner: &str) -> rusqlite::Result<Option<String>> {
        let next =
            tx.prepare_cached(NEXT_OWNER)?.query_one((self.registry, owner), |row| row.get(0)).optional()?;
        match next {
            Some(next) => Ok(Some(next)),
            None => tx.prepare_cached(FIRST_OWNER)?.query_one([self.registry], |row| row.get(0)).optional(),
        }
    }
}

fn lanes(db: &Connection, worker: &Worker) -> rusqlite::Result<Vec<Lane>> {
    db.prepare_cached(LANES)?.query_map([&worker.name], Lane::from_row)?.collect()
}

pub(crate) fn next_due(db: &Connection, worker: &Worker) -> Result<Option<Timestamp>, StoreError> {
    let lease_end: Option<i64> = db.prepare_cached(NEXT_LEASE_END)?.query_one([], |row| row.get(0))?;
    let open = lanes(db, worker)?.iter().filter_map(|lane| lane.open_at(worker)).min();
    let next = lease_end.into_iter().chain(open).min();
    let unreadable = |_| StoreError::Unreadable("a due time out of range".to_owned());
    next.map(columns::at).transpose().map_err(unreadable)
}

pub(crate) fn anything_due(db: &Connection, worker: &Worker) -> Result<bool, StoreError> {
    let now = columns::now(db)?;
    Ok(next_due(db, worker)?.is_some_and(|due| columns::ms(due) <= now))
}

pub(crate) fn claim(
    tx: &Transaction<'_>,
    seal: &SealKey,
    worker: &Worker,
    at_most: usize,
) -> Result<Vec<Claim>, StoreError> {
    let now = columns::now(tx)?;
    tx.prepare_cached(TAKE_BACK)?.execute([now])?;
    let mut open = lanes(tx, worker)?;
    open.retain(|lane| lane.open_at(worker).is_some_and(|at| at <= now));
    let mut claims = Vec::new();
    while claims.len() < at_most {
        // The registry with the fewest running pushes is next.
        let Some((index, _)) = open.iter().enumerate().min_by_key(|(_, lane)| lane.running) else { break };
        let lane = &mut open[index];
        let Some(push) = lane.next_push(tx, now)? else {
            open.swap_remove(index);
            continue;
        };
        match take(tx, seal, push, worker, now)? {
            Ok(claim) => {
                if lane.hold.is_some() {
                    holds::probed_by(tx, lane.registry, &claim.lease)?;
                }
                tx.prepare_cached("UPDATE registry SET turn = ?2 WHERE id = ?1")?
                    .execute((lane.registry, &lane.turn))?;
                let is_doubted = claim.is_doubted && lane.running < FEW;
                claims.push(Claim { is_probe: lane.hold.is_some(), is_doubted, ..claim });
                lane.running += 1;
            }
            // One damaged row must not stop all the others.
            Err(error) => refuse(tx, push, &error, now)?,
        }
        if lane.hold.is_some() || lane.running >= worker.at_a_registry {
            open.swap_remove(index);
        }
    }
    Ok(claims)
}

fn take(
    tx: &Transaction<'_>,
    seal: &SealKey,
    push: i64,
    worker: &Worker,
    now: i64,
) -> rusqlite::Result<Result<Claim, SealError>> {
    tx.prepare_cached(
        "UPDATE push SET status = 'in-progress', due_at = NULL, lease = lease + 1, leased_by = ?2,
             leased_until = ?3, claimed_at = ?4, attempts = attempts + 1,
             first_try_at = coalesce(first_try_at, ?4), bytes_done = 0, bytes_total = 0, updated_at = ?4
         WHERE id = ?1",
    )?
    .execute((push, &worker.name, until(now, worker.lease), now))?;
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
    let lease = Lease {
        push,
        generation,
        number: row.get("lease")?,
        image: row.get("image")?,
        address: row.get("address_id")?,
    };
    Ok(Ok(Claim {
        lease,
        registry,
        owner: row.get("owner")?,
        is_published: row.get("published")?,
        is_doubted: generation > 1,
        is_probe: false,
        repository: columns::parsed(row, "repository")?,
        tag: columns::parsed(row, "tag")?,
        source: columns::parsed(row, "source")?,
        digest: columns::parsed(row, "digest")?,
        push_login: own.or_else(|| stored.clone()),
        read_login: stored,
        destination,
        attempt: row.get("attempts")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::migrate;

    /// However many pushes wait, each look is a search in an index.
    #[test]
    fn no_look_of_a_claim_scans_the_pushes() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut db, |_| Ok::<_, rusqlite::Error>(())).unwrap();
        for (sql, parameters, index) in [
            (LANES, 1, "push_due"),
            (NEXT_LEASE_END, 0, "push_leased"),
            (TAKE_BACK, 1, "push_leased"),
            (FIRST_OWNER, 1, "push_turn"),
            (NEXT_OWNER, 2, "push_turn"),
            (PUBLISHED, 3, "push_turn"),
            (LONGEST_WAITING, 3, "push_turn"),
        ] {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = rusqlite::params_from_iter(vec![0; parameters]);
            let steps = plan.query_map(values, |row| row.get("detail")).unwrap();
            let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            assert!(steps.iter().any(|step| step.contains(index)), "{sql}: {steps:?}");
            for step in &steps {
                assert!(!step.starts_with("SCAN push") && !step.contains("TEMP B-TREE"), "{sql}: {steps:?}");
            }
        }
    }
}
