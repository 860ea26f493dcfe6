//! How many blobs are under way to one destination host at once, over all jobs of the process. The
//! source is not counted on its own: a destination that hangs would hold the source's places of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blobs at once, for each host.
pub(crate) const PER_HOST: usize = 16;
/// Large ones among them: the rest of the places is kept for what is done soon.
const LARGE_PER_HOST: usize = 12;
/// From how many bytes on a blob is large.
const LARGE: u64 = 64 * 1024 * 1024;

/// The permits of every host that was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    hosts: Arc<Mutex<HashMap<String, Places>>>,
}

#[derive(Clone, Debug)]
struct Places {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The right to move one blob; given back when dropped.
pub(crate) struct Permit {
    _all: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// Waits for room for a blob of so many bytes.
    pub(crate) async fn permit(&self, host: &str, bytes: u64) -> Permit {
        let places = {
            let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(host) {
                Some(places) => places.clone(),
                None => known.entry(host.to_owned()).or_insert_with(Places::new).clone(),
            }
        };
        // The semaphores are never closed.
        let large = match bytes {
            LARGE.. => places.large.acquire_owned().await.ok(),
            _ => None,
        };
        Permit { _all: places.all.acquire_owned().await.ok(), _large: large }
    }
}

impl Places {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(PER_HOST)), large: Arc::new(Semaphore::new(LARGE_PER_HOST)) }
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
            held.push(limits.permit("a.example", 1).await);
        }
        assert!(limits.permit("a.example", 1).now_or_never().is_none());
        assert!(limits.permit("b.example", 1).now_or_never().is_some());
        held.pop();
        assert!(limits.permit("a.example", 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn large_blobs_leave_room_for_small_ones() {
        let limits = Limits::default();
        let mut held = Vec::new();
        while let Some(permit) = limits.permit("a.example", LARGE).now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), LARGE_PER_HOST);
        assert!(limits.permit("a.example", LARGE - 1).now_or_never().is_some());
    }
}
