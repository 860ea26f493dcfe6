//! The annotation that reports what a pod asked for before it was routed. `patch` keeps it up, the
//! auditor compares it with what runs; no admission ever reads it to decide.

use std::collections::{BTreeMap, BTreeSet};

use domain::labels::ROUTED_ANNOTATION;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Map, Value};

use crate::images::{Annotations, Image, Pod};

impl Pod<'_> {
    /// What the pod says that it asked for before it was routed, by the titles of its images; anybody may
    /// have written it.
    pub fn reported(&self) -> Option<BTreeMap<String, String>> {
        reported(self.metadata.annotations.as_ref()?.routed.as_deref()?)
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
