//! How many pushes move blobs at once. A registry where none is moving gets its move at once, whatever
//! the others do, and of those that wait the one with the fewest moves is next: a registry that is slow
//! or hangs holds up nobody but itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::registry::RegistryId;
use tokio::sync::Notify;

/// The moves of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Moves {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    moving: HashMap<RegistryId, usize>,
    waiting: HashMap<RegistryId, usize>,
}

/// The right to move the blobs of one push; given back when dropped.
pub(crate) struct Move {
    shared: Arc<Shared>,
    registry: RegistryId,
}

/// Counts who waits, also when the wait is given up.
struct Wait<'a> {
    shared: &'a Shared,
    registry: RegistryId,
}

impl Moves {
    /// At most `limit` at once, but one for each registry in any case.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, state: Mutex::default(), changed: Notify::new() }) }
    }

    /// Waits for a move to the registry.
    pub(crate) async fn begin(&self, registry: RegistryId) -> Move {
        let shared = &self.shared;
        *shared.state().waiting.entry(registry).or_default() += 1;
        let wait = Wait { shared, registry };
        loop {
            // Made before the look, so that no change in between is missed.
            let changed = shared.changed.notified();
            if shared.state().take(registry, shared.limit) {
                break;
            }
            changed.await;
        }
        drop(wait);
        Move { shared: shared.clone(), registry }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, registry: RegistryId, limit: usize) -> bool {
        let moves = |registry: &RegistryId| self.moving.get(registry).copied().unwrap_or_default();
        let fewest = self.waiting.keys().map(moves).min().unwrap_or_default();
        let own = moves(&registry);
        let free = own == 0 || (self.moving.values().sum::<usize>() < limit && own <= fewest);
        if free {
            *self.moving.entry(registry).or_default() += 1;
        }
        free
    }
}

fn decrement(counts: &mut HashMap<RegistryId, usize>, registry: RegistryId) {
    if let Some(count) = counts.get_mut(&registry) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&registry);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        decrement(&mut self.shared.state().waiting, self.registry);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        decrement(&mut self.shared.state().moving, self.registry);
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn registry(number: u128) -> RegistryId {
        RegistryId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn one_registry_takes_all_moves_and_still_holds_up_no_other() {
        let moves = Moves::new(2);
        let _first = moves.begin(registry(1)).await;
        let second = moves.begin(registry(1)).await;
        assert!(moves.begin(registry(1)).now_or_never().is_none());
        let other = moves.begin(registry(2)).now_or_never();
        assert!(other.is_some());
        drop((second, other));
        assert!(moves.begin(registry(1)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_free_move_goes_to_the_registry_with_the_fewest() {
        let moves = Moves::new(3);
        let first = moves.begin(registry(1)).await;
        let _second = moves.begin(registry(1)).await;
        let _third = moves.begin(registry(2)).await;
        let mut one = Box::pin(moves.begin(registry(1)));
        let mut two = Box::pin(moves.begin(registry(2)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        let _fourth = moves.begin(registry(3)).await;
        drop(first);
        assert!((&mut one).now_or_never().is_none(), "there are three still");
        drop(_fourth);
        drop(_second);
        let two = (&mut two).now_or_never();
        assert!(two.is_some() || (&mut one).now_or_never().is_some());
    }
}
