//! Versions of an algorithm: the hash that names one, the numbers of a published one, and the rules of both.

use std::fmt;
use std::str::FromStr;

use crate::reference::{Digest, ReferenceError, Tag};

/// Names one version of an algorithm; also the tag of its image in every registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionHash(Tag);

impl VersionHash {
    /// The hash of a built image: its revision label when that is 40 hex digits, else the commit that
    /// was asked for, else the first 40 hex digits of its digest.
    pub fn of(revision: Option<&str>, commit: Option<&Tag>, digest: &Digest) -> Self {
        let label = revision
            .filter(|label| label.len() == 40 && label.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|label| label.parse::<Tag>().ok());
        Self(label.or_else(|| commit.cloned()).unwrap_or_else(|| digest.short_tag()))
    }

    /// The tag under which every registry holds this version.
    pub fn tag(&self) -> &Tag {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for VersionHash {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which part of the number a publication raises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionType {
    /// Raises the first part.
    Major,
    /// Raises the second part.
    #[default]
    Minor,
    /// Raises the third part.
    Revision,
}

/// The number of a published version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SemanticVersion {
    /// First part.
    pub major: u32,
    /// Second part.
    pub minor: u32,
    /// Third part.
    pub patch: u32,
}

impl SemanticVersion {
    /// The number of the next publication: `0.1.0` for the first, whatever is asked.
    pub fn after(highest: Option<Self>, raise: VersionType) -> Self {
        let Some(Self { major, minor, patch }) = highest else {
            return Self { major: 0, minor: 1, patch: 0 };
        };
        match raise {
            VersionType::Major => Self { major: major.saturating_add(1), minor: 0, patch: 0 },
            VersionType::Minor => Self { major, minor: minor.saturating_add(1), patch: 0 },
            VersionType::Revision => Self { major, minor, patch: patch.saturating_add(1) },
        }
    }
}

impl fmt::Display for SemanticVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_label_names_the_version_then_the_commit_then_the_digest() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("legal");
        let commit: Tag = "v1".parse().expect("legal");
        let label = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(VersionHash::of(Some(label), Some(&commit), &digest).as_str(), label);
        assert_eq!(VersionHash::of(Some("short"), Some(&commit), &digest).as_str(), "v1");
        assert_eq!(VersionHash::of(None, None, &digest).as_str(), "ab".repeat(20));
    }

    #[test]
    fn a_publication_raises_one_part_and_zeroes_those_below() {
        let first = SemanticVersion::after(None, VersionType::Major);
        assert_eq!(first.to_string(), "0.1.0");
        let second = SemanticVersion::after(Some(first), VersionType::Revision);
        assert_eq!(second.to_string(), "0.1.1");
        assert_eq!(SemanticVersion::after(Some(second), VersionType::Minor).to_string(), "0.2.0");
        assert_eq!(SemanticVersion::after(Some(second), VersionType::Major).to_string(), "1.0.0");
    }
}
