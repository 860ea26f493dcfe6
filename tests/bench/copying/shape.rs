//! What is copied: images of incompressible layers.

use anyhow::Result;
use harness::image::{Blob, Image};
use std::collections::HashMap;

use crate::fill;

/// How a gzip stream begins (RFC 1952, 2.3.1): copiers that look leave such a layer as it is.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Images under their tags.
pub(super) struct Shape {
    pub(super) name: &'static str,
    images: Vec<(String, Image)>,
}

impl Shape {
    /// The repository that holds them in the source registry.
    pub(super) const REPOSITORY: &str = "algorithms/bench/shape";

    pub(super) fn eight_layers() -> Result<Self> {
        let layers = (0..8).map(|_| layer(32 << 20)).collect::<Result<Vec<_>>>()?;
        Self::of("eight layers of 32 MiB", vec![layers])
    }

    pub(super) fn one_layer() -> Result<Self> {
        Self::of("one layer of 1 GiB", vec![vec![layer(1 << 30)?]])
    }

    pub(super) fn fifty_images() -> Result<Self> {
        let shared = (0..6).map(|_| layer(16 << 20)).collect::<Result<Vec<_>>>()?;
        let images = (0..50).map(|_| Ok([shared.clone(), vec![layer(1 << 20)?]].concat()));
        Self::of("fifty images", images.collect::<Result<_>>()?)
    }

    fn of(name: &'static str, images: Vec<Vec<bytes::Bytes>>) -> Result<Self> {
        let images = (0..).zip(images).map(|(number, layers)| {
            let image = layers.into_iter().fold(Image::builder(), |image, layer| image.layer(layer));
            Ok((fill::hash(number), image.finish()?))
        });
        Ok(Self { name, images: images.collect::<Result<_>>()? })
    }

    pub(super) fn images(&self) -> &[(String, Image)] {
        &self.images
    }

    /// Bytes of all blobs, each digest once.
    pub(super) fn distinct_bytes(&self) -> u64 {
        let blobs = self.images.iter().flat_map(|(_, image)| image.all_blobs());
        let sizes: HashMap<_, _> =
            blobs.map(|Blob { digest, bytes, .. }| (digest, bytes.len() as u64)).collect();
        sizes.values().sum()
    }
}

fn layer(size: usize) -> Result<bytes::Bytes> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes)?;
    bytes[..GZIP.len()].copy_from_slice(&GZIP);
    Ok(bytes.into())
}
