//! How many pushes move blobs at once. A registry where none is moving gets its move at once, whatever
//! the others do, and of those that wait the one with the fewest moves is next: a registry that is slow
//! or hangs holds up nobody but itself. In a registry owners take turns.

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
    waiting: HashMap<RegistryId, Vec<Place>>,
    /// When an owner's last move to a registry began, counted in tickets; forgotten when nobody waits.
    served: HashMap<(RegistryId, String), u64>,
    tickets: u64,
}

/// A push that waits for its move.
struct Place {
    owner: String,
    is_published: bool,
    ticket: u64,
}

/// The right to move the blobs of one push; given back when dropped.
pub(crate) struct Move {
    shared: Arc<Shared>,
    registry: RegistryId,
}

/// Stands in the queue, also when the wait is given up.
struct Wait<'a> {
    shared: &'a Shared,
    registry: RegistryId,
    ticket: u64,
}

impl Moves {
    /// At most `limit` at once, but one for each registry in any case.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, state: Mutex::default(), changed: Notify::new() }) }
    }

    /// Waits for a move to the registry. What was published goes before the rest of its owner's.
    pub(crate) async fn begin(&self, registry: RegistryId, owner: &str, is_published: bool) -> Move {
        let shared = &self.shared;
        let ticket = shared.state().enter(registry, owner, is_published);
        let wait = Wait { shared, registry, ticket };
        loop {
            // Made before the look, so that no change in between is missed.
            let changed = shared.changed.notified();
            if shared.state().take(registry, ticket, shared.limit) {
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
    fn enter(&mut self, registry: RegistryId, owner: &str, is_published: bool) -> u64 {
        self.tickets += 1;
        let place = Place { owner: owner.to_owned(), is_published, ticket: self.tickets };
        self.waiting.entry(registry).or_default().push(place);
        self.tickets
    }

    fn leave(&mut self, registry: RegistryId, ticket: u64) {
        if let Some(places) = self.waiting.get_mut(&registry) {
            places.retain(|place| place.ticket != ticket);
            if places.is_empty() {
                self.waiting.remove(&registry);
            }
        }
        if self.waiting.is_empty() {
            self.served.clear();
        }
    }

    fn take(&mut self, registry: RegistryId, ticket: u64, limit: usize) -> bool {
        let moves = |registry: &RegistryId| self.moving.get(registry).copied().unwrap_or_default();
        let fewest = self.waiting.keys().map(moves).min().unwrap_or_default();
        let own = moves(&registry);
        let free = own == 0 || (self.moving.values().sum::<usize>() < limit && own <= fewest);
        let next = if free { self.next_at(registry) } else { None };
        let Some(owner) = next.filter(|next| next.ticket == ticket).map(|next| next.owner.clone()) else {
            return false;
        };
        *self.moving.entry(registry).or_default() += 1;
        self.tickets += 1;
        self.served.insert((registry, owner), self.tickets);
        true
    }

    /// Who moves next to a registry: of the owner who was served the longest time ago, if ever.
    fn next_at(&self, registry: RegistryId) -> Option<&Place> {
        self.waiting.get(&registry)?.iter().min_by_key(|place| {
            let served = self.served.get(&(registry, place.owner.clone())).copied().unwrap_or_default();
            (served, !place.is_published, place.ticket)
        })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.shared.state().leave(self.registry, self.ticket);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(moves) = state.moving.get_mut(&self.registry) {
            *moves -= 1;
            if *moves == 0 {
                state.moving.remove(&self.registry);
            }
        }
        drop(state);
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
        let _first = moves.begin(registry(1), "ann", false).await;
        let second = moves.begin(registry(1), "ann", false).await;
        assert!(moves.begin(registry(1), "ann", false).now_or_never().is_none());
        let other = moves.begin(registry(2), "ann", false).now_or_never();
        assert!(other.is_some());
        drop((second, other));
        assert!(moves.begin(registry(1), "ann", false).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_free_move_goes_to_the_registry_with_the_fewest() {
        let moves = Moves::new(3);
        let first = moves.begin(registry(1), "ann", false).await;
        let _second = moves.begin(registry(1), "ann", false).await;
        let _third = moves.begin(registry(2), "ann", false).await;
        let mut one = Box::pin(moves.begin(registry(1), "ann", false));
        let mut two = Box::pin(moves.begin(registry(2), "ann", false));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        let _fourth = moves.begin(registry(3), "ann", false).await;
        drop(first);
        assert!((&mut one).now_or_never().is_none(), "there are three still");
        drop(_fourth);
        drop(_second);
        let two = (&mut two).now_or_never();
        assert!(two.is_some() || (&mut one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn owners_take_turns_and_what_was_published_goes_before_the_rest_of_its_owners() {
        let moves = Moves::new(1);
        let mut moving = moves.begin(registry(1), "ann", false).await;
        let places = [("ann", false), ("ann", true), ("ben", false), ("ann", false), ("ben", false)];
        let mut waiting: Vec<_> = places
            .iter()
            .map(|(owner, is_published)| Some(Box::pin(moves.begin(registry(1), owner, *is_published))))
            .collect();
        let mut order = Vec::new();
        for _ in 0..places.len() {
            // Everybody asks once while there is no move, and so stands in the queue.
            for place in waiting.iter_mut().flatten() {
                assert!(place.now_or_never().is_none());
            }
            drop(moving);
            let asked = waiting.iter_mut().enumerate();
            let given = asked.filter_map(|(index, place)| Some((index, place.as_mut()?.now_or_never()?)));
            let given: Vec<_> = given.collect();
            let [(index, next)] = <[_; 1]>::try_from(given).ok().expect("one move is free");
            order.push(index);
            waiting[index] = None;
            moving = next;
        }
        assert_eq!(order, [1, 2, 0, 4, 3]);
    }
}
