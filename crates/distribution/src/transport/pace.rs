//! How slow a peer may be: what comes or goes at less than a lowest average rate has stalled, be it that
//! nothing moves or a byte a second. Only time spent waiting for that very peer counts.

use std::time::Duration;

use super::IDLE_TIMEOUT;
use crate::error::Cause;

/// So many bytes, at least, in each [`IDLE_TIMEOUT`]: about 1 KiB/s.
pub(crate) const LEAST: u64 = 64 * 1024;

/// The pace of one peer in one direction, since it last gave or took [`LEAST`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// How much longer the peer may be waited for.
    pub(crate) fn patience(&self) -> Duration {
        IDLE_TIMEOUT.saturating_sub(self.waited)
    }

    /// The peer was waited for so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// So many bytes came or went.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= LEAST {
            *self = Self::default();
        }
    }

    /// What it is called when patience is over.
    pub(crate) fn cause(&self) -> Cause {
        match self.bytes {
            0 => Cause::Stalled(IDLE_TIMEOUT.as_secs()),
            bytes => Cause::Slow { bytes, seconds: IDLE_TIMEOUT.as_secs() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_after_a_minute_with_nothing_or_next_to_nothing() {
        let mut pace = Pace::default();
        for _ in 0..59 {
            pace.waited(Duration::from_secs(1));
            pace.moved(1);
        }
        assert_eq!(pace.patience(), Duration::from_secs(1));
        assert!(matches!(pace.cause(), Cause::Slow { bytes: 59, seconds: 60 }));
        pace.moved(LEAST);
        assert_eq!(pace.patience(), IDLE_TIMEOUT);
        assert!(matches!(pace.cause(), Cause::Stalled(60)));
    }
}
