//! What the ledger holds about one reference: all that a decision about it rests on, and what people want
//! to know of it. The api asks for it to explain; deciding is `routing`'s, as in an admission.

use domain::algorithm::Username;
use domain::fact::{Fact, Route};
use domain::reference::{Digest, Reference, Repository};

use crate::queue::PushRecord;
use crate::{Store, StoreError, sqlite};

/// What the ledger holds about the images that a reference may mean.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// A table of routes that knows these decides about the reference as one that knows everything.
    pub facts: Vec<Fact>,
    /// Successes of the images that it names, the latest first, each registry's latest among them, deleted
    /// registries' too.
    pub successes: Vec<Success>,
    /// Pushes that have not succeeded of the newest image that it names, and of those that were pushed,
    /// the last changed first; the first 20.
    pub pushes: Vec<PushRecord>,
}

/// An image that was proven pullable from a registry.
#[derive(Clone, Debug)]
pub struct Success {
    /// Where and when.
    pub route: Route,
    /// The image's repository, below the address of whichever registry.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
}

/// What a reference names in a repository.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    Tag(String),
    Digest(String),
}

impl Store {
    /// What there is about a reference; with `of`, in repositories of that owner alone, and `None` when
    /// it means none of theirs. The time grows with the images of its repository and with nothing else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn evidence(
        &self,
        reference: &Reference<'_>,
        of: Option<Username>,
    ) -> Result<Option<Evidence>, StoreError> {
        let repository = reference.repository().to_owned();
        let named = match reference.digest() {
            Some(digest) => Named::Digest(digest.to_owned()),
            None => Named::Tag(reference.tag().unwrap_or("latest").to_owned()),
        };
        self.read(move |db| sqlite::evidence::gather(db, &repository, &named, of.as_ref())).await
    }
}
