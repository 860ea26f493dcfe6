//! How many blobs are under way at once to one destination, and from one source, over all jobs of the
//! process. A place at the destination comes first and one at the source second, never the other way
//! round, so that no two wait for each other; and every destination has a place of its own at a source,
//! so that others that hang there hold up nobody but themselves.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Blobs at once, to each destination.
pub(crate) const PER_HOST: usize = 16;
/// Blobs at once from each source, but for the one more that each destination may always read.
const PER_SOURCE: usize = 48;
/// Large blobs at once of one job: the places for them are never all one image's.
const LARGE_PER_JOB: usize = 8;
/// From how many bytes on a blob is large.
const LARGE: u64 = 64 * 1024 * 1024;

/// The permits of every host that was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    destinations: Known<String>,
    sources: Known<String>,
    /// By source and destination.
    own: Known<(String, String)>,
}

type Known<K> = Arc<Mutex<HashMap<K, Places>>>;

/// Large blobs get three quarters of the places; the rest is kept for what is done soon.
#[derive(Clone, Debug)]
struct Places {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// What one job may take of the places for large blobs.
#[derive(Debug)]
pub(crate) struct Share(Semaphore);

/// The right to move one blob; given back when dropped.
pub(crate) struct Permit {
    _all: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Waits until the job has not too many large blobs under way; before any place is waited for.
    pub(crate) async fn turn(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        match bytes {
            LARGE.. => self.0.acquire().await.ok(),
            _ => None,
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(Semaphore::new(LARGE_PER_JOB))
    }
}

impl Limits {
    /// Waits for room at a destination for a blob of so many bytes.
    pub(crate) async fn permit(&self, destination: &str, bytes: u64) -> Permit {
        places(&self.destinations, destination.to_owned(), PER_HOST).permit(bytes).await
    }

    /// Waits for room at a source, with the permit for the destination in hand.
    pub(crate) async fn source_permit(&self, source: &str, destination: &str, bytes: u64) -> Permit {
        let own = places(&self.own, (source.to_owned(), destination.to_owned()), 1);
        let shared = places(&self.sources, source.to_owned(), PER_SOURCE);
        tokio::select! {
            biased;
            permit = shared.permit(bytes) => permit,
            permit = own.permit(0) => permit,
        }
    }
}

fn places<K: Eq + Hash>(known: &Known<K>, key: K, count: usize) -> Places {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with(|| Places::new(count)).clone()
}

impl Places {
    fn new(count: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(count)), large: Arc::new(Semaphore::new(count - count / 4)) }
    }

    async fn permit(self, bytes: u64) -> Permit {
        // The semaphores are never closed.
        let large = match bytes {
            LARGE.. => self.large.acquire_owned().await.ok(),
            _ => None,
        };
        Permit { _all: self.all.acquire_owned().await.ok(), _large: large }
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
    async fn large_blobs_leave_room_for_small_ones_at_either_end() {
        let limits = Limits::default();
        let mut held = Vec::new();
        while let Some(permit) = limits.permit("a.example", LARGE).now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), 12);
        assert!(limits.permit("a.example", LARGE - 1).now_or_never().is_some());
        held.clear();
        while let Some(permit) = limits.source_permit("s.example", "a.example", LARGE).now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), 36 + 1);
        assert!(limits.source_permit("s.example", "a.example", LARGE - 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_source_that_others_fill_has_room_for_every_destination() {
        let limits = Limits::default();
        let mut held = Vec::new();
        while let Some(permit) = limits.source_permit("s.example", "hung.example", 1).now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), PER_SOURCE + 1);
        let large = limits.source_permit("s.example", "a.example", LARGE).now_or_never();
        assert!(large.is_some());
        assert!(limits.source_permit("s.example", "a.example", 1).now_or_never().is_none());
        assert!(limits.source_permit("other.example", "hung.example", 1).now_or_never().is_some());
        drop(large);
        assert!(limits.source_permit("s.example", "a.example", 1).now_or_never().is_some());
    }
}
