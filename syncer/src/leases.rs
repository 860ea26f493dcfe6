//! The leases of the pushes under way, extended together with their progress: one write for all of them,
//! once a second at the most. A lease that is lost, as when its registry is deleted, or must be taken for
//! lost because the database has not answered for as long as it lasts, ends the work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use copy::Progress;
use store::{Lease, Renewal, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::outage::Outage;

/// How often progress is shown, and leases are looked at in any case. A lease whose push has no progress to
/// show is extended when a third has passed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The leases of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Leases {
    store: Store,
    lasting: Duration,
    outage: Outage,
    held: Arc<Mutex<Held>>,
    doubt: Arc<Notify>,
}

#[derive(Default)]
struct Held {
    taken: u64,
    leases: HashMap<u64, Entry>,
}

struct Entry {
    lease: Lease,
    progress: Progress,
    shown: (u64, u64),
    until: watch::Sender<Instant>,
}

/// One lease; not extended any more once this is dropped.
pub(crate) struct Tenure {
    leases: Leases,
    number: u64,
    until: watch::Receiver<Instant>,
}

impl Leases {
    /// Extends leases by `lasting` for as long as the runtime lives.
    pub(crate) fn new(store: Store, lasting: Duration, outage: Outage) -> Self {
        let leases = Self { store, lasting, outage, held: Arc::default(), doubt: Arc::default() };
        tokio::spawn(extend(leases.clone()));
        tokio::spawn(end(leases.clone()));
        leases
    }

    /// Something was written to the database: it may have ended a lease.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until the database says that the lease is held; for ever when it is not, since the work is
    /// about to be ended.
    pub(crate) async fn confirm(&self, lease: Lease) {
        loop {
            match self.store.held_leases(vec![lease]).await {
                Ok(held) if held == [true] => return,
                Ok(_) => {
                    self.doubt();
                    return std::future::pending().await;
                }
                Err(_) => tokio::time::sleep(HEARTBEAT).await,
            }
        }
    }

    /// Holds a lease that was asked for at that moment.
    pub(crate) fn hold(&self, lease: Lease, asked: Instant, progress: Progress) -> Tenure {
        let (until, watched) = watch::channel(asked + self.lasting);
        let mut held = self.held();
        held.taken += 1;
        let number = held.taken;
        held.leases.insert(number, Entry { lease, progress, shown: (0, 0), until });
        Tenure { leases: self.clone(), number, until: watched }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those with something to show, and those that have not been extended for a third of their time.
    fn due(&self) -> Vec<(u64, Renewal)> {
        let early = Instant::now() + self.lasting * 2 / 3;
        let held = self.held();
        let due = held.leases.iter().filter_map(|(number, entry)| {
            let (bytes_done, bytes_total) = (entry.progress.bytes_done(), entry.progress.bytes_total());
            let is_due = (bytes_done, bytes_total) != entry.shown || *entry.until.borrow() <= early;
            is_due.then_some((*number, Renewal { lease: entry.lease, bytes_done, bytes_total }))
        });
        due.collect()
    }

    fn extended(&self, number: u64, renewal: Renewal, until: Instant) {
        if let Some(entry) = self.held().leases.get_mut(&number) {
            entry.shown = (renewal.bytes_done, renewal.bytes_total);
            entry.until.send_replace(until);
        }
    }

    fn lost(&self, number: u64) {
        if let Some(entry) = self.held().leases.get(&number) {
            entry.until.send_replace(Instant::now());
        }
    }

    /// Ends the work of those that the database says are not held.
    async fn end_lost(&self) -> Result<(), StoreError> {
        let (numbers, leases): (Vec<_>, Vec<_>) =
            self.held().leases.iter().map(|(number, entry)| (*number, entry.lease)).unzip();
        if !leases.is_empty() {
            let held = self.store.held_leases(leases).await?;
            numbers.into_iter().zip(held).filter(|(_, held)| !held).for_each(|(number, _)| self.lost(number));
        }
        Ok(())
    }
}

async fn end(leases: Leases) {
    loop {
        // In time or not: a sign may have been missed.
        let _doubted = tokio::time::timeout(HEARTBEAT, leases.doubt.notified()).await;
        if let Err(error) = leases.end_lost().await {
            leases.outage.met(&error);
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}

async fn extend(leases: Leases) {
    let mut ticks = tokio::time::interval(HEARTBEAT.min(leases.lasting / 3));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = ticks.tick().await;
        let due = leases.due();
        if due.is_empty() {
            continue;
        }
        let renewals = due.iter().map(|(_, renewal)| *renewal).collect();
        match leases.store.renew_leases(renewals, leases.lasting).await {
            Ok(kept) => {
                for ((number, renewal), kept) in due.into_iter().zip(kept) {
                    match kept {
                        true => leases.extended(number, renewal, asked + leases.lasting),
                        false => leases.lost(number),
                    }
                }
            }
            Err(error) => leases.outage.met(&error),
        }
    }
}

impl Tenure {
    /// When the lease ends unless it is extended.
    pub(crate) fn until(&self) -> Instant {
        *self.until.borrow()
    }

    /// Runs the work as long as the lease is held; `None` when it is lost, and the work is dropped.
    pub(crate) async fn while_held<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let until = *self.until.borrow_and_update();
            // A process that was stopped finds its time over before it does anything else.
            let checked = std::future::poll_fn(|context| match Instant::now() < until {
                true => work.as_mut().poll(context).map(Some),
                false => std::task::Poll::Ready(None),
            });
            tokio::select! {
                biased;
                outcome = checked => return outcome,
                _ = self.until.changed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.leases.held().leases.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use store::{BuiltImage, Claim, NewBuild, NewRegistry, PushRequest, Worker};

    use super::*;

    const LASTING: Duration = Duration::from_millis(1500);

    /// A store with so many claimed pushes.
    async fn claimed(folder: &tempfile::TempDir, pushes: usize) -> (Store, Vec<Claim>) {
        let url = format!("sqlite:{}", folder.path().join("drayage.db").display());
        let store = Store::open(&url.parse().unwrap(), &folder.path().join("seal.key")).await.unwrap();
        let new = NewRegistry { address: "r.example".parse().unwrap(), name: None, login: None };
        let registry = store.create_registry(new).await.unwrap().id;
        let (owner, name) = ("ann".parse().unwrap(), "echo".parse().unwrap());
        let algorithm = store.create_algorithm(owner, name, Default::default()).await.unwrap();
        for number in 0..pushes {
            let image = BuiltImage {
                source: "source.example".parse().unwrap(),
                repository: "ann/echo".parse().unwrap(),
                tag: "latest".parse().unwrap(),
                digest: format!("sha256:{number:064x}").parse().unwrap(),
                media_type: String::new(),
                hash: format!("v{number}").parse().unwrap(),
            };
            let new = NewBuild {
                algorithm: algorithm.uuid,
                commit: None,
                image: Some(image),
                log: String::new(),
                started_at: Timestamp::UNIX_EPOCH,
                push: Some(PushRequest { registry, login: None }),
            };
            store.record_build(new).await.unwrap();
        }
        let worker = Worker { name: "test".to_owned(), lease: LASTING, at_a_registry: 64 };
        let claims = store.claim_pushes(&worker, pushes).await.unwrap();
        (store, claims)
    }

    #[tokio::test]
    async fn a_lease_lasts_as_long_as_its_work_and_ends_the_work_when_it_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (store, claims) = claimed(&folder, 2).await;
        let leases = Leases::new(store.clone(), LASTING, Outage::default());
        let hold = |claim: &Claim| leases.hold(claim.lease, Instant::now(), Progress::default());
        let [mut kept, mut lost] = [hold(&claims[0]), hold(&claims[1])];
        store.release_push(&claims[1]).await.unwrap();
        let (outcome, nothing) = tokio::join!(
            kept.while_held(async { tokio::time::sleep(2 * LASTING).await }),
            lost.while_held(std::future::pending::<()>())
        );
        assert_eq!((outcome, nothing), (Some(()), None));
    }

    #[tokio::test]
    async fn work_whose_lease_ran_out_unnoticed_does_not_go_on_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (store, claims) = claimed(&folder, 1).await;
        let leases = Leases::new(store, LASTING, Outage::default());
        let asked = Instant::now() - 2 * LASTING;
        let mut tenure = leases.hold(claims[0].lease, asked, Progress::default());
        assert_eq!(tenure.while_held(async { unreachable!("it went on") }).await, None::<()>);
    }

    #[tokio::test]
    async fn a_lease_that_somebody_has_ended_is_not_confirmed_and_its_work_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (store, claims) = claimed(&folder, 1).await;
        let leases = Leases::new(store.clone(), Duration::from_secs(3600), Outage::default());
        let mut tenure = leases.hold(claims[0].lease, Instant::now(), Progress::default());
        assert_eq!(tenure.while_held(leases.confirm(claims[0].lease)).await, Some(()));
        store.release_push(&claims[0]).await.unwrap();
        assert_eq!(tenure.while_held(leases.confirm(claims[0].lease)).await, None);
    }

    #[tokio::test]
    async fn what_has_nothing_to_show_is_extended_only_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let (store, claims) = claimed(&folder, 2).await;
        let lasting = Duration::from_secs(60);
        let (held, doubt) = (Arc::default(), Arc::default());
        let leases = Leases { store: store.clone(), lasting, outage: Outage::default(), held, doubt };
        let early = Instant::now() - Duration::from_secs(30);
        let _fresh = leases.hold(claims[0].lease, Instant::now(), Progress::default());
        let _aged = leases.hold(claims[1].lease, early, Progress::default());
        let due = leases.due();
        assert_eq!(due.len(), 1, "all that are due go into one write");
        let renewals = due.iter().map(|(_, renewal)| *renewal).collect();
        assert_eq!(store.renew_leases(renewals, LASTING).await.unwrap(), [true]);
        leases.extended(due[0].0, due[0].1, Instant::now() + leases.lasting);
        assert!(leases.due().is_empty());
    }
}
