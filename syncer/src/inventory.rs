//! The copier's inventory, kept in the database: sightings are gathered for a moment and written
//! together; until then they are told from memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use copy::{Held, Inventory};
use domain::reference::{Digest, Repository};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use store::{Holding, Sighting, Store};
use tokio::sync::Notify;

use crate::outage::Outage;
use crate::worker::DATABASE_PAUSE;

/// How long sightings are gathered.
const GATHER: Duration = Duration::from_millis(250);
/// How many wait at the most while the database takes none; the rest is seen again some day.
const WAITING_LIMIT: usize = 10_000;

/// When what is of no use is forgotten, after the start and from then on.
const PRUNE_AFTER: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Between two steps of that, so that nobody waits for them.
const PRUNE_PAUSE: Duration = Duration::from_millis(200);
/// A blob that no push has met for so long is looked for again.
const UNSEEN_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const HOLDINGS_LIMIT: u64 = 1_000_000;

/// The inventory in the database.
pub(crate) struct Ledger {
    store: Store,
    outage: Outage,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    sightings: Mutex<Vec<Sighting>>,
    news: Notify,
}

impl Ledger {
    /// An inventory that writes as long as the runtime lives.
    pub(crate) fn new(store: Store, outage: Outage) -> Self {
        let waiting = Arc::<Waiting>::default();
        tokio::spawn(write(store.clone(), outage.clone(), waiting.clone()));
        tokio::spawn(prune(store.clone(), outage.clone()));
        Self { store, outage, waiting }
    }

    fn see(&self, sighting: Sighting) {
        let mut sightings = self.waiting.sightings();
        if sightings.len() < WAITING_LIMIT {
            sightings.push(sighting);
            self.waiting.news.notify_one();
        }
    }
}

impl Waiting {
    fn sightings(&self) -> MutexGuard<'_, Vec<Sighting>> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(store: Store, outage: Outage, waiting: Arc<Waiting>) {
    loop {
        waiting.news.notified().await;
        tokio::time::sleep(GATHER).await;
        let batch = waiting.sightings().clone();
        let count = batch.len();
        match store.record_sightings(batch).await {
            // What came meanwhile stands behind them and has notified.
            Ok(()) => drop(waiting.sightings().drain(..count)),
            Err(error) => {
                outage.met(&error);
                tokio::time::sleep(DATABASE_PAUSE).await;
                waiting.news.notify_one();
            }
        }
    }
}

async fn prune(store: Store, outage: Outage) {
    let mut rest = PRUNE_AFTER;
    loop {
        tokio::time::sleep(rest).await;
        rest = match store.prune_inventory(UNSEEN_FOR, HOLDINGS_LIMIT).await {
            Ok(0) => PRUNE_EVERY,
            Ok(_) => PRUNE_PAUSE,
            Err(error) => {
                outage.met(&error);
                PRUNE_EVERY
            }
        };
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Inventory for Ledger {
    fn held<'a>(
        &'a self,
        host: &'a str,
        here: &'a Repository,
        digests: &'a [Digest],
    ) -> BoxFuture<'a, HashMap<Digest, Held>> {
        async move {
            // Before the database is read, so that nothing is missed that is written in between.
            let waiting = self.waiting.sightings().clone();
            let holders = self.store.holders(host.to_owned(), here.clone(), digests.to_vec()).await;
            let holders = holders.unwrap_or_else(|error| {
                self.outage.met(&error);
                HashMap::new()
            });
            let mut held: HashMap<Digest, Held> = holders
                .into_iter()
                .map(|(digest, it)| (digest, Held { here: it.here, elsewhere: it.elsewhere }))
                .collect();
            for sighting in waiting {
                let (present, holding) = match sighting {
                    Sighting::Present(holding) => (true, holding),
                    Sighting::Absent(holding) => (false, holding),
                };
                if holding.host == host && digests.contains(&holding.digest) {
                    apply(held.entry(holding.digest).or_default(), here, holding.repository, present);
                }
            }
            held
        }
        .boxed()
    }

    fn note(&self, host: &str, repository: &Repository, digest: &Digest) {
        self.see(Sighting::Present(holding(host, repository, digest)));
    }

    fn forget(&self, host: &str, repository: &Repository, digest: &Digest) {
        self.see(Sighting::Absent(holding(host, repository, digest)));
    }
}

fn apply(held: &mut Held, here: &Repository, repository: Repository, present: bool) {
    if repository == *here {
        held.here = present;
        return;
    }
    held.elsewhere.retain(|other| *other != repository);
    if present {
        held.elsewhere.insert(0, repository);
    }
}

fn holding(host: &str, repository: &Repository, digest: &Digest) -> Holding {
    Holding { host: host.to_owned(), repository: repository.clone(), digest: digest.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sighting_is_known_at_once_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("drayage.db").display());
        let url = url.parse().expect("a URL");
        let open = async || Store::open(&url, &folder.path().join("seal.key")).await.expect("opens");
        let repository = |name: &str| name.parse::<Repository>().expect("legal");
        let digests: [Digest; 1] = [format!("sha256:{}", "a".repeat(64)).parse().expect("legal")];
        let (here, other) = (repository("here"), repository("other"));
        let ledger = Ledger::new(open().await, Outage::default());
        ledger.note("h.example", &here, &digests[0]);
        ledger.note("h.example", &other, &digests[0]);
        let expected = Held { here: true, elsewhere: vec![other.clone()] };
        assert_eq!(ledger.held("h.example", &here, &digests).await[&digests[0]], expected);
        ledger.forget("h.example", &other, &digests[0]);
        let expected = Held { here: true, elsewhere: Vec::new() };
        assert_eq!(ledger.held("h.example", &here, &digests).await[&digests[0]], expected);
        while !ledger.waiting.sightings().is_empty() {
            tokio::task::yield_now().await;
        }
        let kept = Ledger::new(open().await, Outage::default()).held("h.example", &here, &digests).await;
        assert_eq!(kept[&digests[0]], expected);
    }
}
