//! How far a copy has come, readable by others while it runs. Nothing here waits or writes anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    sent: Arc<AtomicU64>,
    arrived: bool,
}

/// Counts the pieces of one blob from within its body.
pub(crate) struct Meter {
    progress: Progress,
    sent: Arc<AtomicU64>,
}

impl Moving {
    pub(crate) fn meter(&self) -> Meter {
        Meter { progress: self.progress.clone(), sent: self.sent.clone() }
    }

    pub(crate) fn arrive(mut self) {
        self.arrived = true;
    }
}

impl Meter {
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.progress.done.fetch_add(bytes, Ordering::Relaxed);
        self.progress.in_flight.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let sent = self.sent.load(Ordering::Relaxed);
        self.progress.in_flight.0.fetch_sub(self.size - sent.min(self.size), Ordering::Relaxed);
        if !self.arrived {
            self.progress.done.fetch_sub(sent, Ordering::Relaxed);
        }
    }
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
        lost.meter().sent(4);
        assert_eq!((progress.bytes_done(), progress.bytes_total(), gauge.bytes()), (4, 30, 6));
        drop(lost);
        assert_eq!((progress.bytes_done(), gauge.bytes()), (0, 0));
        let kept = progress.follow(10);
        kept.meter().sent(10);
        kept.arrive();
        assert_eq!((progress.bytes_done(), gauge.bytes()), (10, 0));
    }
}
