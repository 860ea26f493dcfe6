//! How far a copy has come, readable by others while it runs. Nothing here waits or writes anywhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of blobs under way that are still to be sent, over all copies that share it.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicU64>);

impl InFlight {
    /// The bytes.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One copy's counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
    in_flight: InFlight,
}

impl Progress {
    /// Counters at zero, beside a gauge that copies share.
    pub fn new(in_flight: InFlight) -> Self {
        Self { in_flight, ..Self::default() }
    }

    /// Bytes of blobs and manifests that lie at the destination or have been sent there.
    pub fn bytes_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of the whole image; 0 until its manifests are read.
    pub fn bytes_total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn begin_anew(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    pub(crate) fn done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Follows one blob on its way.
    pub(crate) fn follow(&self, size: u64) -> Moving {
        self.in_flight.0.fetch_add(size, Ordering::Relaxed);
        Moving { progress: self.clone(), size, sent: Arc::default(), arrived: false }
    }
}

/// A blob on its way. Unless it arrives, it was never counted.
pub(crate) struct Moving {
    progress: Progress,
    size: u64,
    sent: Arc<Mutex<Sent>>,
    arrived: bool,
}

/// Counts the pieces of one blob from within its body, until another body takes over.
pub(crate) struct Meter {
    progress: Progress,
    sent: Arc<Mutex<Sent>>,
    number: u32,
}

#[derive(Default)]
struct Sent {
    bytes: u64,
    /// The number of the one meter that counts.
    meter: u32,
}

impl Moving {
    /// A meter for a body that begins at a byte of the blob.
    pub(crate) fn meter(&self, from: u64) -> Meter {
        let mut sent = lock(&self.sent);
        sent.meter += 1;
        self.progress.moves(sent.bytes, from);
        sent.bytes = from;
        Meter { progress: self.progress.clone(), sent: self.sent.clone(), number: sent.meter }
    }

    pub(crate) fn arrive(mut self) {
        self.arrived = true;
    }
}

impl Meter {
    pub(crate) fn sent(&self, bytes: u64) {
        let mut sent = lock(&self.sent);
        if sent.meter == self.number {
            self.progress.moves(sent.bytes, sent.bytes + bytes);
            sent.bytes += bytes;
        }
    }
}

impl Progress {
    /// A blob of which so many bytes were sent is at another byte now.
    fn moves(&self, before: u64, now: u64) {
        if now >= before {
            self.done.fetch_add(now - before, Ordering::Relaxed);
            self.in_flight.0.fetch_sub(now - before, Ordering::Relaxed);
        } else {
            self.done.fetch_sub(before - now, Ordering::Relaxed);
            self.in_flight.0.fetch_add(before - now, Ordering::Relaxed);
        }
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut sent = lock(&self.sent);
        // The client may hold a body for a moment longer than the upload lasts.
        sent.meter += 1;
        let end = if self.arrived { self.size } else { 0 };
        self.progress.moves(sent.bytes, end);
        sent.bytes = end;
        self.progress.in_flight.0.fetch_sub(self.size - end, Ordering::Relaxed);
    }
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_counts_while_it_moves_and_stays_counted_only_if_it_arrives() {
        let gauge = InFlight::default();
        let progress = Progress::new(gauge.clone());
        progress.expect(30);
        let lost = progress.follow(10);
        lost.meter(0).sent(4);
        assert_eq!((progress.bytes_done(), progress.bytes_total(), gauge.bytes()), (4, 30, 6));
        drop(lost);
        assert_eq!((progress.bytes_done(), gauge.bytes()), (0, 0));
        let kept = progress.follow(10);
        kept.meter(0).sent(10);
        kept.arrive();
        assert_eq!((progress.bytes_done(), gauge.bytes()), (10, 0));
    }

    #[test]
    fn a_blob_that_is_read_again_counts_from_where_it_is_read() {
        let gauge = InFlight::default();
        let progress = Progress::new(gauge.clone());
        let moving = progress.follow(10);
        let first = moving.meter(0);
        first.sent(6);
        let second = moving.meter(2);
        assert_eq!((progress.bytes_done(), gauge.bytes()), (2, 8));
        first.sent(1);
        second.sent(5);
        assert_eq!((progress.bytes_done(), gauge.bytes()), (7, 3));
        drop(moving);
        second.sent(1);
        assert_eq!((progress.bytes_done(), gauge.bytes()), (0, 0));
    }
}
