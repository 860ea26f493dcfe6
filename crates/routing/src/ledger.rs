//! Facts for the tests of this crate, written as sentences. Numbers stand for ids and revisions.

use domain::Timestamp;
use domain::fact::{Fact, ImageId, Revision, Route};
use domain::registry::RegistryId;
use uuid::Uuid;

use crate::Table;

pub(crate) const SOURCE: &str = "registry.local:5000/built";

pub(crate) fn table(facts: impl IntoIterator<Item = Fact>) -> Table {
    let mut table = Table::new([7; 16], &[]);
    facts.into_iter().for_each(|fact| table.apply(fact));
    table
}

pub(crate) fn source(address: &str) -> Fact {
    Fact::Source(address.parse().unwrap())
}

pub(crate) fn registry(id: u8, live: bool) -> Fact {
    Fact::Registry { id: registry_id(id), name: Some(format!("r{id}")), live }
}

pub(crate) fn registry_id(id: u8) -> RegistryId {
    RegistryId(Uuid::from_u128(id.into()))
}

pub(crate) fn image(id: u64, source: &str, repository: &str) -> Fact {
    Fact::Image {
        id: ImageId(id),
        source: source.parse().unwrap(),
        repository: repository.parse().unwrap(),
        digest: digest(id).parse().unwrap(),
    }
}

pub(crate) fn digest(id: u64) -> String {
    format!("sha256:{id:064x}")
}

pub(crate) fn tag(image: u64, tag: &str, revision: u64) -> Fact {
    Fact::Tag { image: ImageId(image), tag: tag.parse().unwrap(), revision: Revision(revision) }
}

pub(crate) fn route(image: u64, registry: u8, address: &str, tag: &str, succeeded: u64) -> Fact {
    Fact::Route(Route {
        image: ImageId(image),
        registry: registry_id(registry),
        address: address.parse().unwrap(),
        tag: tag.parse().unwrap(),
        succeeded_at: Timestamp::UNIX_EPOCH,
        succeeded: Revision(succeeded),
    })
}

/// A table with one image, `ann/hello:abc`, pushed to `corp.example/mirror`.
pub(crate) fn one_route() -> Vec<Fact> {
    vec![
        source(SOURCE),
        registry(1, true),
        image(1, SOURCE, "ann/hello"),
        tag(1, "abc", 1),
        route(1, 1, "corp.example/mirror", "abc", 2),
    ]
}

/// A small generator of numbers, the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
