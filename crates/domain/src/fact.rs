//! What a follower of the ledger must see, as facts under revisions. The store writes them down, the
//! feed hands them out in the order of their revisions, routing keeps its table by them.
//! A fact replaces the earlier one about the same thing, so taking it up twice changes nothing.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reference::{Digest, Repository, Tag};
use crate::registry::{Address, RegistryId};

/// A place in the one order of all that followers see; 0 is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells one database from another, whatever file it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseId(pub Uuid);

/// Names an image of the ledger to followers. Small and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageId(pub u64);

/// One thing that followers must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fact {
    /// The source registry that compiles resolve images in from now on; `--pod-registry` names it.
    Source(Address),
    /// A registry, or that it is no more.
    Registry {
        /// Its id.
        id: RegistryId,
        /// What people call it, if they do.
        name: Option<String>,
        /// Whether it still exists; routes to one that does not are skipped.
        live: bool,
    },
    /// A compiled image.
    Image {
        /// Its id, which tags and routes refer to.
        id: ImageId,
        /// The source registry that it was resolved in.
        source: Address,
        /// Its repository there, below the address's path. Its repository in every other registry has
        /// the same name below that registry's path.
        repository: Repository,
        /// The digest that was recorded; of an index where there is one.
        digest: Digest,
    },
    /// A tag that has named an image: its version hash, or the one that a compile resolved.
    Tag {
        /// The image.
        image: ImageId,
        /// The tag.
        tag: Tag,
        /// When it last came to name the image, in the order of revisions.
        revision: Revision,
    },
    /// An image was proven pullable from a registry.
    Route(Route),
}

/// The latest success of pushing one image to one registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The image.
    pub image: ImageId,
    /// The registry.
    pub registry: RegistryId,
    /// Where the registry was when that was proven; it holds until the next success.
    pub address: Address,
    /// The tag that was pushed.
    pub tag: Tag,
    /// When, for people.
    pub succeeded_at: Timestamp,
    /// When, in the order that decides which success is the latest.
    pub succeeded: Revision,
}

/// Some facts in the order of their revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FactPage {
    /// Whose facts.
    pub database: DatabaseId,
    /// The facts after the revision that was asked for.
    pub facts: Vec<Fact>,
    /// Every fact up to this revision has been seen once this page is taken up.
    pub upto: Revision,
    /// The newest revision of the database; the page is the last one when it equals `upto`.
    pub head: Revision,
}
