//! Makes images and puts them into a registry.

use std::convert::Infallible;

use bytes::Bytes;
use distribution::{Blob, Manifest, ManifestRef, Registry};
use domain::reference::{Digest, Repository};
use futures_util::future::ready;
use futures_util::stream;
use sha2::{Digest as _, Sha256};

use crate::source_repository;

const OCI: &str = "application/vnd.oci.image.";
const DOCKER: &str = "application/vnd.docker.distribution.";

/// Whose media types an image has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Oci,
    Docker,
}

pub(crate) fn blob_of(bytes: &[u8]) -> Blob {
    Blob { digest: digest_of(bytes), size: bytes.len() as u64 }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

/// A layer that does not compress and differs with its seed.
pub(crate) fn layer(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}

pub(crate) fn image(family: Family, config: &[u8], layers: &[Vec<u8>]) -> Manifest {
    let (own, config_type, layer_type) = match family {
        Family::Oci => {
            (format!("{OCI}manifest.v1+json"), format!("{OCI}config.v1+json"), format!("{OCI}layer.v1.tar"))
        }
        Family::Docker => (
            format!("{DOCKER}manifest.v2+json"),
            "application/vnd.docker.container.image.v1+json".to_owned(),
            "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
        ),
    };
    let layers: Vec<String> = layers.iter().map(|layer| descriptor(&layer_type, layer)).collect();
    manifest(format!(
        "{{\n \"schemaVersion\": 2, \"mediaType\": \"{own}\",\n \"config\": {}, \"layers\": [{}] }}",
        descriptor(&config_type, config),
        layers.join(", ")
    ))
}

/// An index of images for amd64, arm64 and so on; of the OCI family without a media type of its own.
pub(crate) fn index(family: Family, images: &[Manifest]) -> Manifest {
    let own = match family {
        Family::Oci => String::new(),
        Family::Docker => format!("\"mediaType\": \"{DOCKER}manifest.list.v2+json\", "),
    };
    let entries: Vec<String> = images
        .iter()
        .zip(["amd64", "arm64", "s390x"])
        .map(|(image, architecture)| {
            let plain = descriptor(&image.media_type, &image.bytes);
            let plain = plain.trim_end_matches('}');
            format!("{plain}, \"platform\": {{\"os\": \"linux\", \"architecture\": \"{architecture}\"}}}}")
        })
        .collect();
    manifest(format!("{{\"schemaVersion\": 2, {own}\"manifests\":\t[{}]}}\n", entries.join(",\n")))
}

/// An image of layers that may be described only, each with more fields than the usual ones.
pub(crate) fn image_of(config: &[u8], layers: &[(Blob, &str)]) -> Manifest {
    let layers: Vec<String> = layers
        .iter()
        .map(|(Blob { digest, size }, more)| format!("{{\"digest\": \"{digest}\", \"size\": {size}{more}}}"))
        .collect();
    let config = descriptor(&format!("{OCI}config.v1+json"), config);
    manifest(format!("{{\"schemaVersion\": 2, \"config\": {config}, \"layers\": [{}]}}", layers.join(", ")))
}

/// A manifest of these very bytes.
pub(crate) fn manifest(text: String) -> Manifest {
    let digest = digest_of(text.as_bytes());
    Manifest::new(text.into(), digest, None).expect("a manifest")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    let Blob { digest, size } = blob_of(bytes);
    format!("{{\"mediaType\": \"{media_type}\", \"digest\": \"{digest}\", \"size\": {size}}}")
}

pub(crate) async fn put_blob(registry: &Registry, repository: &Repository, bytes: &[u8]) {
    let read = |_| ready(Ok(stream::iter([Ok::<_, Infallible>(Bytes::copy_from_slice(bytes))])));
    registry.upload(repository, None, &blob_of(bytes), read).await.expect("taken");
}

/// Puts blobs and then manifests into the source's repository.
pub(crate) async fn publish(registry: &Registry, blobs: &[&[u8]], manifests: &[&Manifest]) {
    for blob in blobs {
        put_blob(registry, &source_repository(), blob).await;
    }
    for manifest in manifests {
        let at = ManifestRef::Digest(manifest.digest.clone());
        registry.put_manifest(&source_repository(), &at, manifest).await.expect("taken");
    }
}
