//! What blobs lie in which repository of which host, as far as anybody has seen. It spares uploads and
//! is never believed: what it says is asked of the registry, and what turns out stale is forgotten.
//! The syncer keeps it in the database; [`Memory`] is for one process and for tests.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::reference::{Digest, Repository};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// Who holds one blob at one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The repository that was asked for does.
    pub here: bool,
    /// Others that do, the ones seen last first; a few.
    pub elsewhere: Vec<Repository>,
}

/// Remembers what lies where. Nothing here fails: what cannot be read is not known.
pub trait Inventory: fmt::Debug + Send + Sync {
    /// Who holds each of the digests at the host; those that nobody is known to hold may be left out.
    fn held<'a>(
        &'a self,
        host: &'a str,
        here: &'a Repository,
        digests: &'a [Digest],
    ) -> BoxFuture<'a, HashMap<Digest, Held>>;

    /// The repository was seen to hold the blob. Does not wait for a disk.
    fn note(&self, host: &str, repository: &Repository, digest: &Digest);

    /// The repository does not hold the blob (any more). Does not wait for a disk.
    fn forget(&self, host: &str, repository: &Repository, digest: &Digest);
}

/// An inventory that ends with the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// By host and digest, the repository seen last at the end.
    known: Mutex<HashMap<(String, Digest), Vec<Repository>>>,
}

impl Memory {
    fn known(&self) -> MutexGuard<'_, HashMap<(String, Digest), Vec<Repository>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inventory for Memory {
    fn held<'a>(
        &'a self,
        host: &'a str,
        here: &'a Repository,
        digests: &'a [Digest],
    ) -> BoxFuture<'a, HashMap<Digest, Held>> {
        let known = self.known();
        let held = digests.iter().filter_map(|digest| {
            let repositories = known.get(&(host.to_owned(), digest.clone()))?;
            let elsewhere = repositories.iter().rev().filter(|other| *other != here).cloned().collect();
            Some((digest.clone(), Held { here: repositories.contains(here), elsewhere }))
        });
        std::future::ready(held.collect()).boxed()
    }

    fn note(&self, host: &str, repository: &Repository, digest: &Digest) {
        let mut known = self.known();
        let repositories = known.entry((host.to_owned(), digest.clone())).or_default();
        repositories.retain(|other| other != repository);
        repositories.push(repository.clone());
    }

    fn forget(&self, host: &str, repository: &Repository, digest: &Digest) {
        if let Some(repositories) = self.known().get_mut(&(host.to_owned(), digest.clone())) {
            repositories.retain(|other| other != repository);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_seen_last_comes_first_and_what_was_forgotten_not_at_all() {
        let repository = |name: &str| name.parse::<Repository>().expect("legal");
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().expect("legal");
        let memory = Memory::default();
        for name in ["a", "b", "c", "a"] {
            memory.note("h.example", &repository(name), &digest);
        }
        memory.forget("h.example", &repository("c"), &digest);
        let digests = [digest];
        let held = memory.held("h.example", &repository("b"), &digests).await;
        assert_eq!(held[&digests[0]], Held { here: true, elsewhere: vec![repository("a")] });
        assert!(memory.held("other.example", &repository("b"), &digests).await.is_empty());
    }
}
