//! The leases of the pushes under way, extended together with their progress: one write for all of them,
//! once a second at the most. A lease that is lost, or must be taken for lost because the database has not
//! answered for as long as it lasts, ends the work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use copy::Progress;
use store::{Lease, Renewal, Store};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::worker::chain;

/// How often progress is shown. A lease whose push has none to show is extended when a third has passed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The leases of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Leases {
    lasting: Duration,
    held: Arc<Mutex<Held>>,
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
    pub(crate) fn new(store: Store, lasting: Duration) -> Self {
        let leases = Self { lasting, held: Arc::default() };
        tokio::spawn(extend(store, leases.clone()));
        leases
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
}

async fn extend(store: Store, leases: Leases) {
    let mut ticks = tokio::time::interval(HEARTBEAT.min(leases.lasting / 3));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = ticks.tick().await;
        let due = leases.due();
        if due.is_empty() {
            continue;
        }
        let renewals = due.iter().map(|(_, renewal)| *renewal).collect();
        match store.renew_leases(renewals, leases.lasting).await {
            Ok(kept) => {
                for ((number, renewal), kept) in due.into_iter().zip(kept) {
                    leases.extended(number, renewal, if kept { asked + leases.lasting } else { asked });
                }
            }
            Err(error) => tracing::warn!(error = %chain(&error), "cannot extend the leases, trying again"),
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
