//! The shapes that travel over the wire, in both directions, a file a resource. Nothing else of the api
//! derives serde, and the rules of the values are `domain`'s.

pub(crate) mod algorithm;
pub(crate) mod build;
pub(crate) mod explanation;
pub(crate) mod failure;
pub(crate) mod key;
pub(crate) mod page;
pub(crate) mod pod;
pub(crate) mod push;
pub(crate) mod registry;

use domain::Timestamp;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// ISO 8601 in UTC with milliseconds and `Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The schema of a field that holds one of some words.
fn words(words: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_moment_has_milliseconds_and_z() {
        let at: domain::Timestamp = "2026-01-02T03:04:05.6789+01:00".parse().expect("legal");
        assert_eq!(super::moment(at), "2026-01-02T02:04:05.678Z");
    }
}
