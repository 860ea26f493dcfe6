//! Images made in memory: OCI and Docker media types, several layers, an index of platforms.
//! Manifests are indented, so that whoever re-serialises one changes its digest and is found out.
//! Layers are random bytes, except where an image is to run.

mod program;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The label in which a build names its commit.
pub const REVISION: &str = "org.opencontainers.image.revision";

/// Which family of media types an image speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `application/vnd.oci.image…`
    Oci,
    /// `application/vnd.docker.distribution…`
    Docker,
}

impl Family {
    fn media_type(self, oci: &str, docker: &str) -> String {
        match self {
            Self::Oci => format!("application/vnd.oci.image.{oci}"),
            Self::Docker => format!("application/vnd.docker.{docker}"),
        }
    }
}

/// A config or a layer.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: String,
    media_type: String,
}

impl Blob {
    fn new(media_type: String, bytes: Bytes) -> Self {
        Self { digest: digest(&bytes), media_type, bytes }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "size": self.bytes.len(), "digest": self.digest})
    }
}

/// An image of one platform, or an index of several.
#[derive(Debug, Clone)]
pub struct Image {
    /// The bytes of its manifest.
    pub manifest: Bytes,
    /// Their digest.
    pub digest: String,
    /// Their media type.
    pub media_type: String,
    /// What the manifest names: the config, then the layers; empty for an index.
    pub blobs: Vec<Blob>,
    /// The images that an index names.
    pub children: Vec<Image>,
    architecture: String,
}

impl Image {
    /// An OCI image for amd64 without layers, to be completed.
    pub fn builder() -> Builder {
        Builder {
            family: Family::Oci,
            architecture: "amd64".into(),
            layers: Vec::new(),
            runs: None,
            labels: BTreeMap::new(),
        }
    }

    /// A small image of two layers that no other image shares.
    pub fn small() -> Result<Self> {
        Self::builder().random_layer(64 << 10)?.random_layer(4 << 10)?.finish()
    }

    /// An index of two platforms, each with its own layers.
    pub fn two_platforms(family: Family) -> Result<Self> {
        let child = |architecture: &str| {
            Self::builder().family(family).architecture(architecture).random_layer(32 << 10)?.finish()
        };
        Self::index(family, vec![child("amd64")?, child("arm64")?])
    }

    /// An index of `children`.
    pub fn index(family: Family, children: Vec<Image>) -> Result<Self> {
        let media_type = family.media_type("index.v1+json", "distribution.manifest.list.v2+json");
        let manifests: Vec<_> = children.iter().map(Self::descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let manifest = indented(&manifest)?;
        Ok(Self {
            digest: digest(&manifest),
            manifest,
            media_type,
            blobs: Vec::new(),
            children,
            architecture: String::new(),
        })
    }

    /// Every blob of the image and of its children.
    pub fn all_blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.iter().chain(self.children.iter().flat_map(|child| &child.blobs))
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "size": self.manifest.len(),
            "digest": self.digest,
            "platform": {"os": "linux", "architecture": self.architecture},
        })
    }
}

/// An image in the making.
#[derive(Debug)]
pub struct Builder {
    family: Family,
    architecture: String,
    layers: Vec<Bytes>,
    /// What the config says of how it is run, if it can be.
    runs: Option<Value>,
    labels: BTreeMap<String, String>,
}

impl Builder {
    /// Speaks this family of media types.
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Runs on this architecture.
    pub fn architecture(self, architecture: &str) -> Self {
        Self { architecture: architecture.into(), ..self }
    }

    /// Adds a label of the config.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Names the commit that it was built from.
    pub fn revision(self, commit: &str) -> Self {
        self.label(REVISION, commit)
    }

    /// Adds a layer of these bytes.
    pub fn layer(mut self, bytes: impl Into<Bytes>) -> Self {
        self.layers.push(bytes.into());
        self
    }

    /// Adds a layer of so many bytes that nobody has seen before.
    pub fn random_layer(self, size: usize) -> Result<Self> {
        let mut bytes = vec![0; size];
        getrandom::fill(&mut bytes)?;
        Ok(self.layer(bytes))
    }

    /// Runs on this machine: its one program, `/program`, waits until it is asked to end; with an
    /// argument it ends at once, and well if that is the path of a file.
    pub fn program(self) -> Result<Self> {
        let runs = Some(json!({"Entrypoint": [program::PATH]}));
        Ok(Self { runs, ..self }.architecture(program::architecture()).layer(program::layer()?))
    }

    /// Runs on this machine, from a folder that becomes its root, as its config says.
    pub fn root(self, folder: &Path, config: Value) -> Result<Self> {
        let layer = program::archive(folder)?;
        Ok(Self { runs: Some(config), ..self }.architecture(program::architecture()).layer(layer))
    }

    /// The image.
    pub fn finish(self) -> Result<Image> {
        let type_of = |oci: &str, docker: &str| self.family.media_type(oci, docker);
        let layer_type = match self.runs {
            Some(_) => type_of("layer.v1.tar", "image.rootfs.diff.tar"),
            None => type_of("layer.v1.tar+gzip", "image.rootfs.diff.tar.gzip"),
        };
        let mut run = self.runs.unwrap_or_else(|| json!({}));
        run["Labels"] = json!(self.labels);
        let layers = self.layers.into_iter().map(|bytes| Blob::new(layer_type.clone(), bytes));
        let layers: Vec<_> = layers.collect();
        let diffs: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
        let config = indented(&json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }))?;
        let config = Blob::new(type_of("config.v1+json", "container.image.v1+json"), config);
        let media_type = type_of("manifest.v1+json", "distribution.manifest.v2+json");
        let descriptors: Vec<_> = layers.iter().map(Blob::descriptor).collect();
        let manifest = indented(&json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": descriptors,
        }))?;
        Ok(Image {
            digest: digest(&manifest),
            manifest,
            media_type,
            blobs: [vec![config], layers].concat(),
            children: Vec::new(),
            architecture: self.architecture,
        })
    }
}

/// The digest of some bytes, `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn indented(value: &Value) -> Result<Bytes> {
    Ok(serde_json::to_vec_pretty(value)?.into())
}
