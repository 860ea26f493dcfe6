//! Judges whether what a pod runs is what its route says, by the decisions that admission makes. Pure: the
//! table, the namespace's label and the times of routes are arguments.

use std::collections::{HashMap, HashSet};

use domain::Timestamp;
use domain::fact::Revision;
use domain::labels::TAKES_PART;
use domain::pod::PodState;
use routing::{Decision, Table};
use store::AuditedImage;

use super::shown::{Named, Shown};

/// What pods are judged by.
pub(super) struct Judge<'a> {
    pub(super) table: &'a Table,
    /// Since when the image of each of these routes has had one.
    pub(super) since: &'a HashMap<Revision, Timestamp>,
    /// Of the routes that decided, those of which that is not known.
    pub(super) unknown: HashSet<Revision>,
}

impl Judge<'_> {
    /// The known images of a pod, by their entries. Pods that are exempt have none.
    pub(super) fn judge(&mut self, pod: &Shown, takes_part: bool) -> Vec<AuditedImage> {
        if pod.is_exempt {
            return Vec::new();
        }
        let mut images: Vec<_> =
            pod.images.iter().filter_map(|named| self.image(named, pod, takes_part)).collect();
        images.sort_by(|one, other| one.entry.cmp(&other.entry));
        images
    }

    fn image(&mut self, named: &Named, pod: &Shown, takes_part: bool) -> Option<AuditedImage> {
        let Named { entry, image, asked } = named;
        let asked = asked.as_deref().and_then(|reported| self.table.asked(reported, image));
        let found = |state, registry, why| {
            let (entry, image, asked) = (entry.clone(), image.clone(), asked.clone());
            Some(AuditedImage { entry, image, asked, state, registry, why })
        };
        let decision = self.table.decide(image);
        let sentence = decision.sentence(image);
        let (registry, was_known) = match decision {
            Decision::Routed(routed) if routed.to == *image => {
                return found(PodState::Routed, Some(routed.registry.id), sentence);
            }
            Decision::Routed(routed) => {
                let because = self.because(pod, takes_part, routed.succeeded);
                let why = format!("{sentence}; the pod runs it from the source registry: {because}");
                return found(PodState::Stray, None, why);
            }
            Decision::Unrouted { .. } => {
                let why = format!("{sentence}; it runs from the source registry");
                return found(PodState::Unrouted, None, why);
            }
            Decision::Destination { registry } => (Some(registry.id), true),
            Decision::Foreign => (None, false),
        };
        // What runs is where a route lies, or where one has lain.
        if let Some(asked) = &asked {
            let decision = self.table.decide(asked);
            let sentence = decision.sentence(asked);
            match decision {
                Decision::Routed(routed) if routed.to == *image => {
                    return found(PodState::Routed, registry, sentence);
                }
                Decision::Routed(_) => {
                    let why = format!("{sentence}; the pod runs {image}, by an older route");
                    return found(PodState::Stray, registry, why);
                }
                Decision::Unrouted { .. } if !was_known => {
                    let why = format!("{sentence}; the pod runs {image}, by a route that has ended");
                    return found(PodState::Unrouted, registry, why);
                }
                _ => {}
            }
        }
        if was_known { found(PodState::Routed, registry, sentence) } else { None }
    }

    /// Why nobody rewrote a source image.
    fn because(&mut self, pod: &Shown, takes_part: bool, revision: Revision) -> String {
        if !takes_part {
            let (label, value) = TAKES_PART;
            return format!("its namespace does not carry the label {label}={value}");
        }
        match self.since.get(&revision) {
            // The API server tells seconds.
            Some(at) if pod.created_at.as_second() < at.as_second() => {
                "it was admitted before there was a route".to_owned()
            }
            at => {
                if at.is_none() {
                    self.unknown.insert(revision);
                }
                "no webhook rewrote it when it was admitted".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
