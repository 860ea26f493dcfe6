//! The rows of the table's maps, as small as they can be: a million routes must fit in little memory.
//! Images, repositories, registries, addresses and places are numbers here.

use std::sync::Arc;

use domain::reference::Tag;

use super::shards::Entry;
use crate::key::{Key, Mark};

/// A repository of a source registry. Sharded by the key of its name.
#[derive(Clone, Copy)]
pub(super) struct Repository {
    pub(super) name: Mark,
    /// The address of the source registry.
    pub(super) source: u32,
    pub(super) number: u32,
}

/// In which repository an image is. Sharded by image.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) image: u32,
    pub(super) repository: u32,
}

/// An image by its digest; there are several when its source registry was spelled in several ways.
/// Sharded by the key of repository and digest.
#[derive(Clone, Copy)]
pub(super) struct Digested {
    pub(super) digest: Mark,
    pub(super) image: u32,
}

/// A tag and the newest image that has carried it. Sharded by the key of repository and tag.
#[derive(Clone, Copy)]
pub(super) struct Tagged {
    pub(super) tag: Mark,
    pub(super) image: u32,
    pub(super) revision: u64,
}

/// That an image is among the several that have carried a tag. Sharded by image.
#[derive(Clone, Copy)]
pub(super) struct Carrier {
    pub(super) image: u32,
    pub(super) tag: Key,
}

/// The carrier of a tag whose push to one registry was the latest to succeed; only for tags with
/// several carriers, so that the look-up of `latest` does not grow with the versions behind it.
/// Sharded by the key of repository and tag.
#[derive(Clone, Copy)]
pub(super) struct Leader {
    pub(super) tag: Mark,
    pub(super) registry: u32,
    pub(super) image: u32,
}

/// Where an image was proven pullable. Sharded by image.
#[derive(Clone)]
pub(super) struct Routed {
    pub(super) image: u32,
    pub(super) place: u32,
    pub(super) succeeded: u64,
    pub(super) tag: RouteTag,
}

/// How many images of a repository have a route at a place. Sharded by repository.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    pub(super) repository: u32,
    pub(super) place: u32,
    pub(super) images: u32,
}

macro_rules! ordered {
    ($($entry:ident by $($field:ident: $kind:ty),+;)+) => {$(
        impl Entry for $entry {
            type Order = ($($kind,)+);

            fn order(&self) -> Self::Order {
                ($(self.$field,)+)
            }
        }
    )+};
}

ordered! {
    Repository by name: Mark, source: u32;
    Image by image: u32;
    Digested by digest: Mark, image: u32;
    Tagged by tag: Mark;
    Carrier by image: u32, tag: Key;
    Leader by tag: Mark, registry: u32;
    Routed by image: u32, place: u32;
    Destination by repository: u32, place: u32;
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The tag of a push. Most are version hashes of 40 hex digits, which need no heap.
#[derive(Clone)]
pub(super) enum RouteTag {
    Hash([u8; 20]),
    Text(Arc<str>),
}

impl From<&Tag> for RouteTag {
    fn from(tag: &Tag) -> Self {
        packed(tag.as_str()).map_or_else(|| Self::Text(tag.as_str().into()), Self::Hash)
    }
}

impl std::fmt::Display for RouteTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // By hand, for formatting twenty numbers costs as much as looking the route up.
            Self::Hash(bytes) => {
                let digits =
                    bytes.map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
                f.write_str(str::from_utf8(digits.as_flattened()).unwrap_or_default())
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

fn packed(text: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_printed_as_it_was_pushed() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for text in [hash, &hash[1..], &hash.to_uppercase(), "v1", "latest"] {
            let tag = RouteTag::from(&text.parse::<Tag>().unwrap());
            assert_eq!(tag.to_string(), text);
            assert_eq!(matches!(tag, RouteTag::Hash(_)), text == hash);
        }
    }

    #[test]
    fn the_rows_of_a_route_are_small() {
        let bytes = size_of::<Repository>()
            + size_of::<Image>()
            + size_of::<Digested>()
            + size_of::<Tagged>()
            + size_of::<Routed>()
            + size_of::<Destination>();
        assert_eq!(bytes, 120);
    }
}
