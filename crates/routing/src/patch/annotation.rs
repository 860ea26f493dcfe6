//! The annotation that reports what a pod asked for before it was routed. `patch` keeps it up at creations, the
//! auditor compares it with what runs; no admission ever reads it to decide. An update of a pod changes images
//! alone, so a report may be of an image that the container has no more.

use std::collections::{BTreeMap, BTreeSet};

use domain::labels::ROUTED_ANNOTATION;
use domain::reference::Reference;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Map, Value};

use crate::decision::NoRoute;
use crate::images::{Annotations, Image, Pod};
use crate::{Decision, Table};

impl Pod<'_> {
    /// What the pod says that it asked for before it was routed, by the titles of its images; anybody may
    /// have written it.
    pub fn reported(&self) -> Option<BTreeMap<String, String>> {
        reported(self.metadata.annotations.as_ref()?.routed.as_deref()?)
    }
}

impl Table {
    /// What a container asked for that names `image` now, by what is reported of it: that itself, or, where its
    /// image was changed since, the same tag or digest of the source repository. Nothing if it is of another one.
    pub fn asked(&self, reported: &str, image: &str) -> Option<String> {
        let (asked, now) = (Reference::parse(reported).ok()?, Reference::parse(image).ok()?);
        let is_below = |name: &str| {
            let path = now.repository().strip_suffix(name);
            path.is_some_and(|path| path.is_empty() || path.ends_with('/'))
        };
        let (_, repository) = self.sources(&asked).find(|(name, _)| is_below(name))?;
        let tag = |of: &Reference<'_>| of.tag().unwrap_or("latest").to_owned();
        let is_unchanged = match (asked.digest(), now.digest()) {
            (None, None) => {
                tag(&asked) == tag(&now) || self.share_an_image(repository, &tag(&asked), &tag(&now))
            }
            (asked, now) => asked == now,
        };
        if is_unchanged {
            return Some(reported.to_owned());
        }
        let end = now.digest().map_or_else(|| format!(":{}", tag(&now)), |digest| format!("@{digest}"));
        let changed = format!("{}/{}{end}", asked.host(), asked.repository());
        (self.decide(&changed) != Decision::Unrouted(NoRoute::NeverCompiled)).then_some(changed)
    }
}

/// A value that is no such report is none.
fn reported(text: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(text).ok()
}

/// The entries that the pod's images justify.
#[derive(Default)]
pub(super) struct Entries {
    set: BTreeMap<String, String>,
    keep: BTreeSet<String>,
}

impl Entries {
    /// Reports what an entry of the pod asked for, since it is rewritten.
    pub(super) fn set(&mut self, image: &Image<'_>) {
        self.set.insert(image.title().into_owned(), image.image.to_owned());
    }

    /// Keeps what is reported of an entry, since it names a known destination.
    pub(super) fn keep(&mut self, image: &Image<'_>) {
        self.keep.insert(image.title().into_owned());
    }

    /// The operation that brings the annotation up to date, if it is not.
    pub(super) fn operation(self, annotations: Option<&Annotations<'_>>) -> Option<PatchOperation> {
        let before = annotations.and_then(|annotations| annotations.routed.as_deref());
        if before.is_none() && self.set.is_empty() {
            return None;
        }
        let reported = before.and_then(reported);
        let mut entries = self.set;
        for (title, image) in reported.iter().flatten().filter(|(title, _)| self.keep.contains(*title)) {
            entries.entry(title.clone()).or_insert_with(|| image.clone());
        }
        if reported.as_ref() == Some(&entries) && !entries.is_empty() {
            return None;
        }
        let path = PointerBuf::from_tokens(["metadata", "annotations", ROUTED_ANNOTATION]);
        if entries.is_empty() {
            return Some(PatchOperation::Remove(RemoveOperation { path }));
        }
        // Texts always serialise.
        let value = Value::String(serde_json::to_string(&entries).unwrap_or_default());
        Some(PatchOperation::Add(if annotations.is_some() {
            AddOperation { path, value }
        } else {
            let path = PointerBuf::from_tokens(["metadata", "annotations"]);
            let annotations = Map::from_iter([(ROUTED_ANNOTATION.to_owned(), value)]);
            AddOperation { path, value: Value::Object(annotations) }
        }))
    }
}
