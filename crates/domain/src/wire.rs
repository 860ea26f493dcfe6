//! How facts travel from the api to a webhook that is not beside the database: JSON, in which the checked
//! texts are strings. What is read is checked like everything that comes from outside.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reference::{Digest, Repository, Tag};
use crate::registry::Address;

macro_rules! as_strings {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_strings!(Address, Digest, Repository, Tag);

#[cfg(test)]
mod tests {
    use crate::fact::{DatabaseId, Fact, FactPage, ImageId, Revision, Route};
    use crate::registry::RegistryId;

    #[test]
    fn a_page_of_every_fact_is_read_as_it_was_written() {
        let id = uuid::Uuid::from_u128(7);
        let facts = vec![
            Fact::Source("http://source.example:5000/platform".parse().unwrap()),
            Fact::Registry { id: RegistryId(id), name: Some("a \"name\"".to_owned()), live: true },
            Fact::Image {
                id: ImageId(1),
                source: "source.example".parse().unwrap(),
                repository: "algorithms/ann/echo".parse().unwrap(),
                digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            },
            Fact::Tag { image: ImageId(1), tag: "v1".parse().unwrap(), revision: Revision(2) },
            Fact::Route(Route {
                image: ImageId(1),
                registry: RegistryId(id),
                address: "corp.example/x".parse().unwrap(),
                tag: "v1".parse().unwrap(),
                succeeded_at: jiff::Timestamp::UNIX_EPOCH,
                succeeded: Revision(3),
            }),
        ];
        let page = FactPage { database: DatabaseId(id), facts, upto: Revision(3), head: Revision(4) };
        let json = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<FactPage>(&json).unwrap(), page, "{json}");
        let wrong = json.replace("\"v1\"", "\"not a tag\"");
        assert!(serde_json::from_str::<FactPage>(&wrong).is_err(), "{wrong}");
    }
}
