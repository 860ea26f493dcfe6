//! Which namespace is due when: at once after a change, but never sooner than its pace allows, so that
//! somebody who keeps undoing our work, or an API server that refuses it, costs little. Pure; time is an
//! argument.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Between two writes to one namespace at least; well within the two seconds that a change may take.
const PACE: Duration = Duration::from_secs(1);
/// After many failures at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The namespaces that are due or will be.
#[derive(Default)]
pub(super) struct Queue {
    due: BTreeSet<(Instant, String)>,
    known: HashMap<String, Known>,
}

#[derive(Default)]
struct Known {
    due: Option<Instant>,
    /// Nothing is written before.
    not_before: Option<Instant>,
    failures: u32,
}

impl Queue {
    /// Something has changed in the namespace.
    pub(super) fn put(&mut self, namespace: &str, now: Instant) {
        let known = self.known.entry(namespace.to_owned()).or_default();
        let at = known.not_before.map_or(now, |moment| moment.max(now));
        if known.due.is_none_or(|due| at < due) {
            if let Some(due) = known.due.replace(at) {
                self.due.remove(&(due, namespace.to_owned()));
            }
            self.due.insert((at, namespace.to_owned()));
        }
    }

    /// Takes the namespace that has been due for the longest time.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        if self.next()? > now {
            return None;
        }
        let (_, namespace) = self.due.pop_first()?;
        if let Some(known) = self.known.get_mut(&namespace) {
            known.due = None;
        }
        Some(namespace)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// It was written.
    pub(super) fn written(&mut self, namespace: &str, now: Instant) {
        let known = self.known.entry(namespace.to_owned()).or_default();
        known.failures = 0;
        known.not_before = Some(now + PACE);
    }

    /// It could not be written, and is tried again later.
    pub(super) fn failed(&mut self, namespace: &str, now: Instant) {
        let known = self.known.entry(namespace.to_owned()).or_default();
        known.not_before = Some(now + LONGEST_PAUSE.min(PACE * 2_u32.saturating_pow(known.failures)));
        known.failures += 1;
        self.put(namespace, now);
    }

    /// It is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        if let Some(due) = self.known.remove(namespace).and_then(|known| known.due) {
            self.due.remove(&(due, namespace.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_at_once_and_only_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put("b", now);
        queue.put("a", now + PACE);
        queue.put("b", now + PACE);
        assert_eq!((queue.take(now), queue.take(now)), (Some("b".to_owned()), None));
        assert_eq!(queue.next(), Some(now + PACE));
        queue.put("a", now);
        assert_eq!((queue.take(now), queue.next()), (Some("a".to_owned()), None));
        queue.put("a", now);
        queue.forget("a");
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn a_namespace_that_was_just_written_or_refused_waits() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.written("a", now);
        queue.put("a", now);
        assert_eq!((queue.take(now), queue.next()), (None, Some(now + PACE)));
        let mut pauses = vec![];
        for _ in 0..8 {
            queue.failed("refused", now);
            pauses.push(queue.known["refused"].not_before.unwrap().duration_since(now).as_secs());
            assert!(queue.take(now).is_none());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        queue.written("refused", now);
        queue.failed("refused", now);
        assert_eq!(queue.known["refused"].not_before, Some(now + PACE));
    }
}
