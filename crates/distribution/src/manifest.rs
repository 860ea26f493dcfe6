//! Manifests as they travel: the raw bytes with their own media type, and what they name. A manifest
//! is never written anew, since that would change its digest. No I/O here.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use domain::reference::{Digest, Tag};
use oci_client::manifest::{
    IMAGE_LAYER_NONDISTRIBUTABLE_GZIP_MEDIA_TYPE, IMAGE_LAYER_NONDISTRIBUTABLE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256, Sha512};

/// The largest manifest that is read, in bytes (distribution spec, "Pushing Manifests").
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Blobs and manifests that one manifest may name.
const NAMES_LIMIT: usize = 4_096;
/// One header, or some registries see the first type only.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const FOREIGN_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    IMAGE_LAYER_NONDISTRIBUTABLE_MEDIA_TYPE,
    IMAGE_LAYER_NONDISTRIBUTABLE_GZIP_MEDIA_TYPE,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManifestRef {
    /// By what names it now.
    Tag(Tag),
    /// By what it is.
    Digest(Digest),
}

impl fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a registry or an index says about a manifest (OCI image spec, "Descriptor").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// As it is told.
    pub media_type: String,
    /// Of the manifest's bytes.
    pub digest: Digest,
    /// In bytes; 0 when the registry does not tell.
    pub size: u64,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// What a manifest consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image for one platform.
    Image {
        /// Its configuration.
        config: Blob,
        /// Its layers from the bottom up, without the foreign ones: those lie where their `urls` say,
        /// which are neither fetched nor rewritten (as skopeo and crane leave them).
        layers: Vec<Blob>,
    },
    /// An index (or Docker's manifest list).
    Index {
        /// The manifests it names, each with the size that it should have.
        manifests: Vec<Descriptor>,
    },
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or not of a manifest's form.
    #[error("it is no manifest")]
    Form(#[source] serde_json::Error),
    /// Schema 1, an artifact manifest, or something newer than we are.
    #[error("it is neither an image nor an index (media type {0})")]
    Unknown(String),
    /// Fields of both kinds, which readers would understand differently (CVE-2021-41190).
    #[error("it is an image and an index at once")]
    Ambiguous,
    /// A digest that is none, or a negative size.
    #[error("one of its descriptors is not legal")]
    Descriptor,
    /// More than [`NAMES_LIMIT`].
    #[error("it names more than {NAMES_LIMIT} blobs or manifests")]
    TooMany,
}

/// A manifest's raw bytes and what they say.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Verbatim.
    pub bytes: Bytes,
    /// Its own, or where it names none, that of its kind.
    pub media_type: String,
    /// Of the bytes, computed.
    pub digest: Digest,
    /// What they name.
    pub content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ImageFields {
    config: OciDescriptor,
    layers: Vec<OciDescriptor>,
}

#[derive(Deserialize)]
struct IndexFields {
    manifests: Vec<OciDescriptor>,
}

impl Manifest {
    /// Reads what the bytes say. The kind is decided by the fields; `content_type`, what the registry
    /// called them, counts only where the manifest does not name its own media type.
    ///
    /// # Errors
    /// [`ManifestError`] when the manifest is of no kind that can be copied.
    pub fn new(bytes: Bytes, digest: Digest, content_type: Option<&str>) -> Result<Self, ManifestError> {
        let shape: Shape = serde_json::from_slice(&bytes).map_err(ManifestError::Form)?;
        let (content, kinds) = match (&shape.manifests, &shape.config, &shape.layers) {
            (Some(_), None, None) => {
                (index(&bytes)?, [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE])
            }
            (None, Some(_), Some(_)) => (image(&bytes)?, [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE]),
            (Some(_), _, _) => return Err(ManifestError::Ambiguous),
            _ => {
                let named = shape.media_type.as_deref().or(content_type).unwrap_or("none");
                return Err(ManifestError::Unknown(
                    named.chars().filter(char::is_ascii_graphic).take(80).collect(),
                ));
            }
        };
        let media_type = match (shape.media_type, content_type) {
            (Some(own), _) if kinds.contains(&own.as_str()) => own,
            (Some(own), _) => {
                return Err(ManifestError::Unknown(
                    own.chars().filter(char::is_ascii_graphic).take(80).collect(),
                ));
            }
            (None, Some(told)) if kinds.contains(&told) => told.to_owned(),
            (None, _) => kinds[0].to_owned(),
        };
        Ok(Self { bytes, media_type, digest, content })
    }
}

fn image(bytes: &[u8]) -> Result<Content, ManifestError> {
    let fields: ImageFields = serde_json::from_slice(bytes).map_err(ManifestError::Form)?;
    if fields.layers.len() > NAMES_LIMIT {
        return Err(ManifestError::TooMany);
    }
    let own = fields.layers.iter().filter(|layer| !is_foreign(layer));
    Ok(Content::Image { config: blob(&fields.config)?, layers: own.map(blob).collect::<Result<_, _>>()? })
}

fn index(bytes: &[u8]) -> Result<Content, ManifestError> {
    let fields: IndexFields = serde_json::from_slice(bytes).map_err(ManifestError::Form)?;
    if fields.manifests.len() > NAMES_LIMIT {
        return Err(ManifestError::TooMany);
    }
    let manifests = fields.manifests.into_iter().map(|child| {
        let Blob { digest, size } = blob(&child)?;
        Ok(Descriptor { media_type: child.media_type, digest, size })
    });
    Ok(Content::Index { manifests: manifests.collect::<Result<_, _>>()? })
}

fn is_foreign(layer: &OciDescriptor) -> bool {
    FOREIGN_LAYERS.contains(&layer.media_type.as_str())
        && layer.urls.as_ref().is_some_and(|urls| !urls.is_empty())
}

fn blob(descriptor: &OciDescriptor) -> Result<Blob, ManifestError> {
    Ok(Blob {
        digest: descriptor.digest.parse().map_err(|_| ManifestError::Descriptor)?,
        size: descriptor.size.try_into().map_err(|_| ManifestError::Descriptor)?,
    })
}

/// Computes a digest of the algorithm that another one names.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// One that will be compared with `digest`.
    pub(crate) fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self::Sha512(Sha512::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest as text.
    pub(crate) fn finish(self) -> String {
        let (name, bytes) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name}:{hex}")
    }
}

/// The digest of bytes that nobody named one for.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::Sha256(Sha256::new());
    hasher.update(bytes);
    Digest::from_str(&hasher.finish()).expect("64 hex digits are a digest")
}

#[cfg(test)]
mod tests;
