//! Keeps the log readable when every one of ten thousand admissions a second is worth a line.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Lets ten lines a second through.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Throttle {
    /// How many lines were left out since the last one, if this one is to be written.
    pub(super) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // Numbers only: a panic elsewhere cannot have left them half written.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines < LINES {
            state.lines += 1;
            Some(std::mem::take(&mut state.left_out))
        } else {
            state.left_out += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_written_and_the_next_tells_how_many_were_not() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let written = (0..25).filter(|_| throttle.admit_at(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(throttle.admit_at(start + PERIOD), Some(15));
        assert_eq!(throttle.admit_at(start + PERIOD), Some(0));
    }
}
