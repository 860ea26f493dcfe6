//! What an image consists of, read from one registry before anything moves: every manifest below the
//! digest, in the order in which they may become visible, and every blob once, the biggest first.

use std::collections::HashMap;

use distribution::{Blob, Content, Error, Manifest, ManifestRef, Registry, Side};
use domain::push::{Failure, Reason};
use domain::reference::{Digest, Repository};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::limits::PER_HOST;

/// An index in an index in an index is more than anybody has seen.
const DEPTH_LIMIT: usize = 4;
const MANIFESTS_LIMIT: usize = 512;
/// Manifests are kept in memory until they are written.
const MANIFEST_BYTES_LIMIT: usize = 16 * 1024 * 1024;
const BLOBS_LIMIT: usize = 16_384;

/// An image, taken apart.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The manifest that the tag will name.
    pub(crate) root: Manifest,
    /// The other manifests; each group names only what stands in groups before it.
    pub(crate) children: Vec<Vec<Manifest>>,
    /// Each digest once, the biggest first.
    pub(crate) blobs: Vec<Blob>,
}

/// Why there is no plan.
pub(crate) enum Unplanned {
    /// A manifest could not be read.
    Unread(Error),
    /// The image is none that can be copied.
    Unfit(Failure),
}

impl Unplanned {
    /// This as the end of a try.
    pub(crate) fn failure(self, side: Side) -> Failure {
        match self {
            Self::Unread(error) => error.failure(side),
            Self::Unfit(failure) => failure,
        }
    }
}

impl From<Failure> for Unplanned {
    fn from(failure: Failure) -> Self {
        Self::Unfit(failure)
    }
}

impl Plan {
    /// Reads the manifests from a registry, without that of the image itself where the caller has it.
    pub(crate) async fn read(
        registry: &Registry,
        repository: &Repository,
        digest: &Digest,
        root: Option<Manifest>,
    ) -> Result<Self, Unplanned> {
        let mut known: HashMap<Digest, Manifest> = HashMap::new();
        let mut bytes = 0;
        // How many bytes of them are to come, where an index says it.
        let mut level = HashMap::from([(digest.clone(), None)]);
        let mut given = root;
        for _ in 0..DEPTH_LIMIT {
            let read = match given.take() {
                Some(root) => vec![root],
                None => manifests(registry, repository, level).await?,
            };
            let mut next = HashMap::new();
            for manifest in read {
                bytes += manifest.bytes.len();
                if let Content::Index { manifests } = &manifest.content {
                    next.extend(manifests.iter().map(|child| (child.digest.clone(), Some(child.size))));
                }
                known.insert(manifest.digest.clone(), manifest);
            }
            next.retain(|digest, _| !known.contains_key(digest));
            if known.len() + next.len() > MANIFESTS_LIMIT {
                return Err(too_large(format!("more than {MANIFESTS_LIMIT} manifests")).into());
            }
            if bytes > MANIFEST_BYTES_LIMIT {
                return Err(too_large(format!("more than {MANIFEST_BYTES_LIMIT} bytes of manifests")).into());
            }
            if next.is_empty() {
                return Ok(Self::arrange(digest, known)?);
            }
            level = next;
        }
        Err(too_large(format!("indexes more than {DEPTH_LIMIT} deep")).into())
    }

    fn arrange(root: &Digest, mut known: HashMap<Digest, Manifest>) -> Result<Self, Failure> {
        let blobs = blobs(&known)?;
        let heights = heights(&known)?;
        let root =
            known.remove(root).ok_or_else(|| Failure::new(Reason::Internal, "the plan lost its root"))?;
        let mut children: Vec<Vec<Manifest>> = Vec::new();
        for (digest, manifest) in known {
            let height = heights.get(&digest).copied().unwrap_or_default();
            if children.len() <= height {
                children.resize_with(height + 1, Vec::new);
            }
            children[height].push(manifest);
        }
        Ok(Self { root, children, blobs })
    }

    /// Bytes of all blobs and manifests.
    pub(crate) fn bytes(&self) -> u64 {
        let manifests = self.children.iter().flatten().chain([&self.root]).map(|it| it.bytes.len() as u64);
        self.blobs.iter().map(|blob| blob.size).chain(manifests).fold(0, u64::saturating_add)
    }
}

async fn manifests(
    registry: &Registry,
    repository: &Repository,
    level: HashMap<Digest, Option<u64>>,
) -> Result<Vec<Manifest>, Unplanned> {
    stream::iter(level)
        .map(async |(digest, size)| {
            let read = registry.manifest(repository, &ManifestRef::Digest(digest)).await;
            let manifest = read.map_err(Unplanned::Unread)?;
            match size {
                Some(size) if size != manifest.bytes.len() as u64 => Err(missized(&manifest, size).into()),
                _ => Ok(manifest),
            }
        })
        .buffer_unordered(PER_HOST)
        .try_collect()
        .await
}

/// How many manifests stand below each one, counted along the longest way down.
fn heights(known: &HashMap<Digest, Manifest>) -> Result<HashMap<Digest, usize>, Failure> {
    let mut heights: HashMap<Digest, usize> = known.keys().map(|digest| (digest.clone(), 0)).collect();
    for _ in 0..=known.len() {
        let mut settled = true;
        for (digest, manifest) in known {
            let Content::Index { manifests } = &manifest.content else { continue };
            let below = manifests.iter().filter_map(|child| heights.get(&child.digest)).max();
            let height = below.map_or(0, |below| below + 1);
            settled &= heights.insert(digest.clone(), height) == Some(height);
        }
        if settled {
            return Ok(heights);
        }
    }
    // No two manifests can hold each other's digest, unless a digest is broken.
    Err(Failure::new(Reason::SourceCorrupt, "The image's indexes name each other in a circle."))
}

fn blobs(known: &HashMap<Digest, Manifest>) -> Result<Vec<Blob>, Failure> {
    let mut blobs: HashMap<&Digest, &Blob> = HashMap::new();
    for manifest in known.values() {
        if let Content::Image { config, layers } = &manifest.content {
            blobs.extend(layers.iter().chain([config]).map(|blob| (&blob.digest, blob)));
        }
        if blobs.len() > BLOBS_LIMIT {
            return Err(too_large(format!("more than {BLOBS_LIMIT} blobs")));
        }
    }
    let mut blobs: Vec<Blob> = blobs.into_values().cloned().collect();
    blobs.sort_unstable_by(|one, other| {
        other.size.cmp(&one.size).then_with(|| one.digest.as_str().cmp(other.digest.as_str()))
    });
    Ok(blobs)
}

/// No node would pull it.
fn missized(manifest: &Manifest, size: u64) -> Failure {
    let Manifest { bytes, digest, .. } = manifest;
    let what = format!("An index of the image says that {digest} has {size} bytes; it has {}.", bytes.len());
    Failure::new(Reason::SourceCorrupt, format!("{what} Build the image anew."))
}

fn too_large(what: String) -> Failure {
    Failure::new(Reason::TooLarge, format!("The image consists of {what}; that is beyond what is copied."))
}

#[cfg(test)]
mod tests {
    use distribution::Descriptor;

    use super::*;

    fn digest(letter: char) -> Digest {
        format!("sha256:{}", letter.to_string().repeat(64)).parse().expect("legal")
    }

    fn child(letter: char) -> Descriptor {
        Descriptor { media_type: String::new(), digest: digest(letter), size: 1 }
    }

    fn manifest(name: char, content: Content) -> (Digest, Manifest) {
        let bytes = name.to_string().into();
        (digest(name), Manifest { bytes, media_type: String::new(), digest: digest(name), content })
    }

    fn index(name: char, below: &str) -> (Digest, Manifest) {
        manifest(name, Content::Index { manifests: below.chars().map(child).collect() })
    }

    fn image(name: char, layers: &[(char, u64)]) -> (Digest, Manifest) {
        let mut layers = layers.iter().map(|(name, size)| Blob { digest: digest(*name), size: *size });
        let config = layers.next().expect("a config");
        manifest(name, Content::Image { config, layers: layers.collect() })
    }

    #[test]
    fn no_manifest_comes_before_one_that_it_names() {
        let known = [
            index('a', "bcd"),
            index('b', "ce"),
            index('c', "e"),
            image('d', &[('1', 1)]),
            image('e', &[('1', 1)]),
        ];
        let plan = Plan::arrange(&digest('a'), known.into()).expect("a plan");
        let names: Vec<String> = plan
            .children
            .iter()
            .map(|level| {
                let mut names: Vec<&str> = level
                    .iter()
                    .map(|manifest| std::str::from_utf8(&manifest.bytes).expect("a letter"))
                    .collect();
                names.sort_unstable();
                names.concat()
            })
            .collect();
        assert_eq!(names, ["de", "c", "b"]);
    }

    #[test]
    fn each_blob_comes_once_and_the_biggest_first() {
        let known = [
            index('a', "bc"),
            image('b', &[('1', 5), ('2', 70), ('3', 6)]),
            image('c', &[('4', 9), ('2', 70)]),
        ];
        let plan = Plan::arrange(&digest('a'), known.into()).expect("a plan");
        assert_eq!(plan.blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [70, 9, 6, 5]);
        assert_eq!(plan.bytes(), 70 + 9 + 6 + 5 + 3);
    }

    #[test]
    fn indexes_in_a_circle_are_refused() {
        let known = [index('a', "b"), index('b', "a")];
        let failure = Plan::arrange(&digest('a'), known.into()).expect_err("a circle");
        assert_eq!(failure.reason, Reason::SourceCorrupt);
    }
}
