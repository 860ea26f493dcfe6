//! A sorted map in shards that snapshots share: a change copies one shard, a snapshot copies pointers.
//! Vectors grow by little instead of doubling, for memory is the budget here and shards are small.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::key::SHARDS;

/// What a shard holds, in the order of its keys.
pub(super) trait Entry: Clone {
    /// What tells one entry from another.
    type Order: Ord;

    /// This entry's.
    fn order(&self) -> Self::Order;
}

#[derive(Clone)]
pub(super) struct Shards<E>(Arc<Vec<Arc<Vec<E>>>>);

impl<E: Entry> Shards<E> {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Vec::new());
        Self(Arc::new(vec![empty; SHARDS]))
    }

    pub(super) fn get(&self, shard: usize, order: &E::Order) -> Option<&E> {
        let entries = self.0.get(shard)?;
        let at = entries.binary_search_by(|entry| entry.order().cmp(order)).ok()?;
        entries.get(at)
    }

    /// The entries that `place` calls equal; it must follow the order of the keys.
    pub(super) fn range(&self, shard: usize, place: impl Fn(&E) -> Ordering) -> &[E] {
        let entries = self.0.get(shard).map_or(&[][..], |entries| entries);
        let start = entries.partition_point(|entry| place(entry).is_lt());
        let tail = entries.get(start..).unwrap_or_default();
        // Nearly always there is one, or none.
        let equal = tail.iter().take_while(|entry| place(entry).is_eq()).count();
        tail.get(..equal).unwrap_or_default()
    }

    /// Puts an entry in, in the place of the one with the same key; tells whether there was none.
    pub(super) fn put(&mut self, shard: usize, entry: E) -> bool {
        let Some(entries) = Arc::make_mut(&mut self.0).get_mut(shard) else { return false };
        let entries = Arc::make_mut(entries);
        match entries.binary_search_by(|other| other.order().cmp(&entry.order())) {
            Ok(at) => {
                entries[at] = entry;
                false
            }
            Err(at) => {
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(entries.len() / 32 + 4);
                }
                entries.insert(at, entry);
                true
            }
        }
    }

    pub(super) fn remove(&mut self, shard: usize, order: &E::Order) {
        let Some(entries) = Arc::make_mut(&mut self.0).get_mut(shard) else { return };
        let entries = Arc::make_mut(entries);
        if let Ok(at) = entries.binary_search_by(|entry| entry.order().cmp(order)) {
            entries.remove(at);
        }
    }
}
