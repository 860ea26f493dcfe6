//! Algorithms: whose, named what, and the document that their owner keeps about them.

use domain::Timestamp;
use domain::algorithm::{AlgorithmName, Username};
use serde_json::Value;
use uuid::Uuid;

use crate::{Store, StoreError, sqlite};

/// How a caller names an algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlgorithmRef {
    /// By its id.
    Uuid(Uuid),
    /// By owner and name.
    Name(Username, AlgorithmName),
}

/// An algorithm.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Its id.
    pub uuid: Uuid,
    /// Whose it is.
    pub owner: Username,
    /// Its name among its owner's.
    pub name: AlgorithmName,
    /// Details and settings as the owner keeps them; opaque here.
    pub document: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its document last changed.
    pub updated_at: Timestamp,
}

/// Why no algorithm was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateAlgorithmError {
    /// The owner has one of that name, in some case.
    #[error("the name is taken")]
    NameTaken,
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Merges the sections of a change into a document.
pub(crate) fn merge(document: &mut Value, change: &Value) {
    let Some(sections) = change.as_object() else { return };
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    for (name, section) in sections {
        match (document[name].as_object_mut(), section.as_object()) {
            (Some(kept), Some(members)) => kept.extend(members.clone()),
            _ => document[name] = section.clone(),
        }
    }
}

impl Store {
    /// Makes an algorithm.
    ///
    /// # Errors
    /// [`CreateAlgorithmError`].
    pub async fn create_algorithm(
        &self,
        owner: Username,
        name: AlgorithmName,
        document: Value,
    ) -> Result<Algorithm, CreateAlgorithmError> {
        self.write(move |tx| sqlite::algorithms::create(tx, &owner, &name, &document)).await
    }

    /// Finds an algorithm.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn algorithm(&self, algorithm: AlgorithmRef) -> Result<Option<Algorithm>, StoreError> {
        self.read(move |db| sqlite::algorithms::find(db, &algorithm)).await
    }

    /// Merges a change into an algorithm's document: each member of each section replaces the one of its
    /// name, whatever is not mentioned stays. `None` when the algorithm is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_algorithm(
        &self,
        algorithm: Uuid,
        change: Value,
    ) -> Result<Option<Algorithm>, StoreError> {
        self.write(move |tx| sqlite::algorithms::update(tx, algorithm, &change)).await
    }

    /// Removes an algorithm; whether there was one. Its images keep their routes, since pods may run them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_algorithm(&self, algorithm: Uuid) -> Result<bool, StoreError> {
        self.write(move |tx| sqlite::algorithms::remove(tx, algorithm)).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_replaces_what_it_mentions_and_keeps_the_rest() {
        let mut document = json!({"details": {"label": "a", "summary": "b"}, "settings": {"x": [1]}});
        merge(&mut document, &json!({"details": {"label": "c"}, "settings": {}, "new": {"y": 1}}));
        assert_eq!(
            document,
            json!({"details": {"label": "c", "summary": "b"}, "settings": {"x": [1]}, "new": {"y": 1}})
        );
        merge(&mut document, &Value::Null);
        assert_eq!(document["details"]["label"], "c");
    }
}
