//! Of several copies that bring the same blob to the same host one leads and uploads; the others wait
//! for it and then mount. A leader that fails lets the next one try.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::reference::{Digest, Repository};
use tokio::sync::watch;

type Key = (String, Digest);
type UnderWay = HashMap<Key, watch::Receiver<Option<Repository>>>;

/// Every blob under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaders {
    under_way: Arc<Mutex<UnderWay>>,
}

/// Whose turn it is.
pub(crate) enum Turn {
    /// Ours.
    Lead(Lead),
    /// It was another's, who has brought the blob to this repository, or has failed.
    Followed(Option<Repository>),
}

/// Others wait until this is dropped.
pub(crate) struct Lead {
    leaders: Leaders,
    key: Key,
    outcome: watch::Sender<Option<Repository>>,
}

impl Leaders {
    /// Leads, or waits for who does.
    pub(crate) async fn turn(&self, host: &str, digest: &Digest) -> Turn {
        let mut outcome = match self.under_way().entry((host.to_owned(), digest.clone())) {
            Entry::Occupied(leader) => leader.get().clone(),
            Entry::Vacant(place) => {
                let key = place.key().clone();
                let (outcome, followers) = watch::channel(None);
                place.insert(followers);
                return Turn::Lead(Lead { leaders: self.clone(), key, outcome });
            }
        };
        // An error says that the leader has gone.
        while outcome.changed().await.is_ok() {}
        let brought = outcome.borrow().clone();
        Turn::Followed(brought)
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The blob lies in the repository: the others may mount it.
    pub(crate) fn arrived(self, repository: &Repository) {
        self.outcome.send_replace(Some(repository.clone()));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leaders.under_way().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_leads_and_the_others_learn_how_it_ended() {
        let leaders = Leaders::default();
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().expect("legal");
        let repository: Repository = "acme/x".parse().expect("legal");
        let Turn::Lead(first) = leaders.turn("h.example", &digest).await else { panic!("nobody leads") };
        let mut second = Box::pin(leaders.turn("h.example", &digest));
        assert!((&mut second).now_or_never().is_none());
        assert!(matches!(leaders.turn("other.example", &digest).await, Turn::Lead(_)));
        drop(first);
        assert!(matches!(second.await, Turn::Followed(None)));
        let Turn::Lead(next) = leaders.turn("h.example", &digest).await else { panic!("nobody leads") };
        let mut third = Box::pin(leaders.turn("h.example", &digest));
        assert!((&mut third).now_or_never().is_none());
        next.arrived(&repository);
        let Turn::Followed(Some(at)) = third.await else { panic!("it arrived") };
        assert_eq!(at, repository);
    }
}
