//! Keyed hashes of what the table looks up. The key of the hash is random in every process, so nobody
//! can craft names that collide or that crowd one shard.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Shards of every map of the table; a power of two.
pub(crate) const SHARDS: usize = 4096;

/// A hash of 128 bits, of which the shard takes 12 and the entries in it keep 96.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) mark: Mark,
    shard: u16,
}

/// What an entry keeps of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark([u32; 3]);

impl Key {
    /// The shard that holds the entries under this key.
    pub(crate) fn shard(self) -> usize {
        usize::from(self.shard)
    }
}

/// The shard of a small dense number.
pub(crate) fn shard_of(number: u32) -> usize {
    number as usize % SHARDS
}

/// Makes keys; the table's only one.
#[derive(Clone, Copy)]
pub(crate) struct Keys(SipHasher13);

impl Keys {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&secret))
    }

    /// Of a repository's name, in whichever registry.
    pub(crate) fn repository(&self, name: &str) -> Key {
        self.key(0, 0, name)
    }

    /// Of a tag in a repository of the table.
    pub(crate) fn tag(&self, repository: u32, tag: &str) -> Key {
        self.key(1, repository, tag)
    }

    /// Of a digest in a repository of the table.
    pub(crate) fn digest(&self, repository: u32, digest: &str) -> Key {
        self.key(2, repository, digest)
    }

    fn key(&self, kind: u8, number: u32, text: &str) -> Key {
        let [a, b, c, d] = number.to_le_bytes();
        let mut hasher = self.0;
        hasher.write(&[kind, a, b, c, d]);
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        Key {
            mark: Mark([hash.h1 as u32, (hash.h1 >> 32) as u32, hash.h2 as u32]),
            shard: ((hash.h2 >> 32) as usize % SHARDS) as u16,
        }
    }
}
