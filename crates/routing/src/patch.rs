//! What an admission changes in a pod: which images are judged, and the minimal JSON Patch (RFC 6902) from
//! their positions in the request's own JSON. The webhook calls `mutate`; from where an image is pulled is
//! decided in `decision`, and nothing here answers the API server.

mod annotation;

use std::borrow::Cow;
use std::collections::HashSet;

use domain::labels::PULL_SECRET;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation};
use serde_json::json;

use crate::images::{Image, Part, Pod, PulledWith};
use crate::{Decision, Table};

const ALWAYS: &str = "Always";

/// More sentences than this say nothing new to a reader, and the API server cuts long warnings.
const SENTENCE_LIMIT: usize = 8;

/// What is being done to a pod.
#[derive(Debug)]
pub enum Change<'r, 'a> {
    /// It is created.
    Create(&'r Pod<'a>),
    /// It is updated; of a live pod only images can still change.
    Update {
        /// As it will be.
        pod: &'r Pod<'a>,
        /// As it is.
        old: &'r Pod<'a>,
    },
    /// Ephemeral containers are added, through the subresource of that name.
    Debug {
        /// As it will be.
        pod: &'r Pod<'a>,
        /// As it is.
        old: &'r Pod<'a>,
    },
}

/// What becomes of a source image without a route: `--unrouted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// It runs from the source registry, with a warning.
    Allow,
    /// The pod is refused.
    Refuse,
}

/// How an admission ended; the worst of its images decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There was nothing to change.
    #[default]
    Unchanged,
    /// Something was changed.
    Routed,
    /// A source image without a route was let through.
    Unrouted,
    /// The pod was refused.
    Refused,
}

/// What an admission changes and says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutation {
    /// The changes; none when the pod is refused.
    pub patch: Patch,
    /// Why the pod is refused, if it is.
    pub refusal: Option<String>,
    /// What nobody expects, a line each.
    pub warnings: Vec<String>,
    /// Why each source image is pulled from where, a sentence each; of a refused pod, the refusal alone.
    pub routes: Vec<String>,
    /// The pushes that decided; none when the pod is refused.
    pub pushes: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Computes what an admission changes. Its own result, admitted again, changes nothing.
pub fn mutate(change: &Change<'_, '_>, table: &Table, unrouted: Unrouted) -> Mutation {
    let mut mutation = Mutation::default();
    match *change {
        Change::Create(pod) | Change::Update { pod, .. } | Change::Debug { pod, .. } if pod.is_mirror() => {}
        Change::Create(pod) => mutation.create(pod, table, unrouted),
        Change::Update { pod, old } => mutation.update(pod, old, table, unrouted),
        Change::Debug { pod, old } => mutation.debug(pod, old, table, unrouted),
    }
    if let Some(reason) = &mutation.refusal {
        mutation.patch.0.clear();
        mutation.pushes.clear();
        // Nothing of it is pulled from anywhere, so that is all there is to say.
        mutation.routes = vec![reason.clone()];
        mutation.outcome = Outcome::Refused;
    } else if !mutation.patch.0.is_empty() {
        mutation.outcome = mutation.outcome.max(Outcome::Routed);
    }
    mutation
}

/// Where the image of one entry is pulled from when that is a registry of ours.
enum Pull {
    Rewritten(String),
    AsItIs,
}

impl Mutation {
    fn create(&mut self, pod: &Pod<'_>, table: &Table, unrouted: Unrouted) {
        let mut entries = annotation::Entries::default();
        let mut is_ours = false;
        for image in pod.images() {
            let Some(pull) = self.judge(&image, table, unrouted) else { continue };
            is_ours = true;
            self.force_always(&image);
            // The server restores the annotations of a request that adds ephemeral containers, so
            // those are never in it.
            let reported = image.part != Part::EphemeralContainers;
            if let Pull::Rewritten(to) = pull
                && to != image.image
            {
                self.replace_image(&image, to);
                if reported {
                    entries.set(&image);
                }
            } else if reported {
                entries.keep(&image);
            }
        }
        if is_ours {
            self.append_pull_secret(pod);
        }
        self.patch.0.extend(entries.operation(pod.metadata.annotations.as_ref()));
    }

    fn update(&mut self, pod: &Pod<'_>, old: &Pod<'_>, table: &Table, unrouted: Unrouted) {
        for part in [Part::InitContainers, Part::Containers] {
            let running: HashSet<_> = old.images_of(part).map(|old| (old.name, old.image)).collect();
            for image in pod.images_of(part) {
                if running.contains(&(image.name, image.image)) {
                    continue;
                }
                let Some(pull) = self.judge(&image, table, unrouted) else { continue };
                if image.pull_policy != Some(ALWAYS) {
                    self.refuse(format!(
                        "container {}: {} needs imagePullPolicy {ALWAYS}, which a live pod cannot take up any more; delete the pod and create it again with this image",
                        image.name, image.image
                    ));
                } else if pod.pulled_with() != PulledWith::Ours {
                    self.refuse(format!(
                        "container {}: {} needs the pull Secret {PULL_SECRET}, which a live pod cannot take up any more; delete the pod and create it again with this image",
                        image.name, image.image
                    ));
                } else if let Pull::Rewritten(to) = pull {
                    self.replace_image(&image, to);
                }
            }
        }
    }

    fn debug(&mut self, pod: &Pod<'_>, old: &Pod<'_>, table: &Table, unrouted: Unrouted) {
        let running: HashSet<_> = old.images_of(Part::EphemeralContainers).map(|old| old.name).collect();
        for image in pod.images_of(Part::EphemeralContainers) {
            if running.contains(image.name) {
                continue;
            }
            let Some(pull) = self.judge(&image, table, unrouted) else { continue };
            self.force_always(&image);
            // Unlike a container, it takes the place of none that runs, and a login may be elsewhere.
            if pod.pulled_with() != PulledWith::Ours {
                let warning = format!(
                    "container {}: it is pulled without the Secret {PULL_SECRET}, which a live pod cannot take up any more",
                    image.name
                );
                say(&mut self.warnings, warning);
            }
            if let Pull::Rewritten(to) = pull {
                self.replace_image(&image, to);
            }
        }
    }

    /// Decides about one image and says what there is to say of it.
    fn judge(&mut self, image: &Image<'_>, table: &Table, unrouted: Unrouted) -> Option<Pull> {
        let decision = table.decide(image.image);
        match decision {
            Decision::Foreign => return None,
            Decision::Destination { .. } => return Some(Pull::AsItIs),
            Decision::Routed(_) | Decision::Unrouted(_) => {}
        }
        let sentence = decision.sentence(image.image);
        match decision {
            Decision::Routed(routed) => {
                if routed.behind {
                    say(&mut self.warnings, sentence.clone());
                }
                say(&mut self.routes, sentence);
                say(&mut self.pushes, routed.push);
                Some(Pull::Rewritten(routed.to))
            }
            _ if unrouted == Unrouted::Refuse => {
                self.refuse(format!("{sentence}, and images without a route are refused here"));
                None
            }
            _ => {
                let sentence = format!("{sentence}; it runs from the source registry");
                say(&mut self.warnings, sentence.clone());
                say(&mut self.routes, sentence);
                self.outcome = Outcome::Unrouted;
                None
            }
        }
    }

    /// The first reason is told; the next attempt shows the others.
    fn refuse(&mut self, reason: String) {
        self.refusal.get_or_insert(reason);
    }

    fn replace_image(&mut self, image: &Image<'_>, to: String) {
        if image.image != to {
            let path = image.pointer(image.image_field());
            self.patch.0.push(PatchOperation::Replace(ReplaceOperation { path, value: to.into() }));
        }
    }

    /// Keeps the Secrets that are there: the ServiceAccount's have been put in before.
    fn append_pull_secret(&mut self, pod: &Pod<'_>) {
        let secret = json!({"name": PULL_SECRET});
        let (path, value) = match pod.pulled_with() {
            PulledWith::Ours => return,
            PulledWith::Others => ("/spec/imagePullSecrets/-", secret),
            PulledWith::Nothing => ("/spec/imagePullSecrets", json!([secret])),
        };
        let path = PointerBuf::parse(path).unwrap_or_default();
        self.patch.0.push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn force_always(&mut self, image: &Image<'_>) {
        if image.pull_policy != Some(ALWAYS) {
            // Adding a member that exists replaces it (RFC 6902, 4.1).
            let path = image.pointer(image.policy_field());
            self.patch.0.push(PatchOperation::Add(AddOperation { path, value: ALWAYS.into() }));
        }
    }
}

impl Image<'_> {
    /// What the annotation calls this entry: a container's name, or `volume/NAME`.
    pub fn title(&self) -> Cow<'_, str> {
        match self.part {
            Part::Volumes => Cow::Owned(format!("volume/{}", self.name)),
            _ => Cow::Borrowed(self.name),
        }
    }

    fn image_field(&self) -> &'static str {
        if self.part == Part::Volumes { "image/reference" } else { "image" }
    }

    fn policy_field(&self) -> &'static str {
        if self.part == Part::Volumes { "image/pullPolicy" } else { "imagePullPolicy" }
    }

    fn pointer(&self, field: &str) -> PointerBuf {
        let Self { part, index, .. } = self;
        // No name in it needs escaping (RFC 6901, 3), so it always parses.
        PointerBuf::parse(format!("/spec/{}/{index}/{field}", part.field())).unwrap_or_default()
    }
}

/// Adds a sentence unless it was said already or enough was said.
fn say(sentences: &mut Vec<String>, sentence: String) {
    if sentences.len() < SENTENCE_LIMIT && !sentences.contains(&sentence) {
        sentences.push(sentence);
    }
}

#[cfg(test)]
mod tests;
