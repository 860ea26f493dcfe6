//! The reviews that are sent: a pod as an API server shows it to its webhooks, with one of the routed
//! images between two of other registries, another one in each review, by tag and by digest in turn.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::fill::{self, DESTINATION, SOURCE};

const TEMPLATE: &str = include_str!("review.json");
/// A prime, so that consecutive reviews name images far apart and each in its turn.
const STRIDE: u32 = 99_991;

/// All reviews of a database of a known size.
#[derive(Debug)]
pub(crate) struct Reviews {
    /// What stands before and after the image.
    parts: [String; 2],
    images: Vec<Image>,
    sent: AtomicU32,
}

/// A version's image as a pod names it.
#[derive(Debug)]
pub(crate) struct Image {
    repository: String,
    tag: String,
    digest: String,
}

impl Image {
    fn of(version: u32) -> Self {
        Self {
            repository: fill::repository(version),
            tag: format!(":{}", fill::hash(version)),
            digest: format!("@{}", fill::digest(version)),
        }
    }

    /// The reference at a registry, by digest or by tag.
    fn at(&self, registry: &str, by_digest: bool) -> String {
        let end = if by_digest { &self.digest } else { &self.tag };
        format!("{registry}/{}{end}", self.repository)
    }
}

impl Reviews {
    /// Of a database with this many versions.
    pub(crate) fn new(versions: u32) -> Result<Self> {
        let text: String = TEMPLATE.lines().collect();
        let (before, after) = text.split_once("${IMAGE}").context("the image")?;
        let parts = [before, after].map(str::to_owned);
        Ok(Self { parts, images: (0..versions).map(Image::of).collect(), sent: AtomicU32::new(0) })
    }

    /// The next review.
    pub(crate) fn next(&self) -> Bytes {
        self.naming(&self.reference(SOURCE, self.sent.fetch_add(1, Ordering::Relaxed)))
    }

    /// A review of a pod with this image.
    pub(crate) fn naming(&self, image: &str) -> Bytes {
        let [before, after] = &self.parts;
        Bytes::from([before, image, after].concat())
    }

    /// How many were made.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The bytes of one.
    pub(crate) fn length(&self) -> usize {
        self.next().len()
    }

    /// The image of a review, by its number.
    fn reference(&self, registry: &str, number: u32) -> String {
        let image = &self.images[number.wrapping_mul(STRIDE) as usize % self.images.len()];
        image.at(registry, number.is_multiple_of(2))
    }

    /// Checks that the answer to the review of this number moves its image.
    pub(crate) fn check(&self, number: u32, answer: &[u8]) -> Result<()> {
        let images = patched_images(answer)?;
        let expected = self.reference(DESTINATION, number);
        ensure!(images == [expected.as_str()], "the answer names {images:?} instead of {expected}");
        Ok(())
    }
}

/// The images that an answer's patch writes; none without a patch.
pub(crate) fn patched_images(answer: &[u8]) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer).context("an answer in JSON")?;
    let Some(patch) = answer["response"]["patch"].as_str() else { return Ok(Vec::new()) };
    let patch: Vec<Value> = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    let images =
        patch.iter().filter(|change| change["path"].as_str().is_some_and(|at| at.ends_with("/image")));
    Ok(images.filter_map(|change| Some(change["value"].as_str()?.to_owned())).collect())
}
