//! How many blobs are under way to and from one host at once, over all jobs of the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blobs at once, for each host.
pub(crate) const PER_HOST: usize = 16;

/// The permits of every host that was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    hosts: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// The right to move one blob; given back when dropped.
pub(crate) struct Permit {
    _held: Vec<OwnedSemaphorePermit>,
}

impl Limits {
    /// Waits for room at both hosts.
    pub(crate) async fn permit(&self, one: &str, other: &str) -> Permit {
        // Always in the same order: two jobs in opposite directions would wait for each other for ever.
        let mut hosts = vec![one, other];
        hosts.sort_unstable();
        hosts.dedup();
        let mut held = Vec::with_capacity(hosts.len());
        for host in hosts {
            let semaphore = {
                let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))).clone()
            };
            // The semaphores are never closed.
            held.extend(semaphore.acquire_owned().await.ok());
        }
        Permit { _held: held }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_full_host_holds_up_its_own_blobs_only() {
        let limits = Limits::default();
        let mut held = Vec::new();
        for _ in 0..PER_HOST {
            held.push(limits.permit("a.example", "a.example").await);
        }
        assert!(limits.permit("b.example", "a.example").now_or_never().is_none());
        assert!(limits.permit("b.example", "c.example").now_or_never().is_some());
        held.pop();
        assert!(limits.permit("b.example", "a.example").now_or_never().is_some());
    }
}
