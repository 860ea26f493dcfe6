//! Which controllers keep creating routed pods anew: operators that compare the images of a live pod with
//! those that they asked for, and see another one each time. Pure; time is an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;

use super::shown::{Owner, Shown};

/// How far back it is looked.
const WITHIN: Duration = Duration::from_secs(10 * 60);
/// A pod that lived for so long was not created in vain.
const SETTLED: Duration = Duration::from_secs(60);
/// So many pods that did not, and no other one, are no accident.
const ENOUGH: usize = 5;
/// Owners that are counted at once at the most.
const OWNERS: usize = 1_000;

/// Controllers, and when each lost a routed pod that had not settled.
#[derive(Default)]
pub(super) struct Recreations(HashMap<(String, Arc<Owner>), Vec<Timestamp>>);

/// A controller that keeps creating routed pods anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recreator {
    pub(super) namespace: String,
    pub(super) owner: Arc<Owner>,
    pub(super) pods: usize,
}

impl Recreator {
    /// `Kind/name`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.owner.kind, self.owner.name)
    }

    /// What it does, and why it probably does.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} has created {} pods anew within 10 minutes, each of which was routed and none of which lived for a minute; it probably compares their images with those that it asked for",
            self.name(),
            self.pods
        )
    }
}

impl Recreations {
    /// A pod that had not ended by itself has gone.
    pub(super) fn gone(&mut self, pod: &Shown, now: Timestamp) {
        let Some(owner) = pod.owner.as_ref().filter(|_| pod.was_routed()) else { return };
        let key = (pod.name.namespace.clone(), owner.clone());
        if lived(pod, now) >= SETTLED {
            self.0.remove(&key);
        } else if self.0.len() < OWNERS || self.0.contains_key(&key) {
            self.0.entry(key).or_default().push(now);
        }
    }

    /// Those that do it now. `pods` are all that live; one that has settled acquits its owner.
    pub(super) fn found<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a Shown>,
        now: Timestamp,
    ) -> Vec<Recreator> {
        self.0.retain(|_, losses| {
            losses.retain(|at| now.duration_since(*at).unsigned_abs() < WITHIN);
            !losses.is_empty()
        });
        if !self.0.is_empty() {
            for pod in pods.filter(|pod| pod.was_routed() && lived(pod, now) >= SETTLED) {
                if let Some(owner) = &pod.owner {
                    self.0.remove(&(pod.name.namespace.clone(), owner.clone()));
                }
            }
        }
        let found = self.0.iter().filter(|(_, losses)| losses.len() >= ENOUGH);
        found
            .map(|((namespace, owner), losses)| Recreator {
                namespace: namespace.clone(),
                owner: owner.clone(),
                pods: losses.len(),
            })
            .collect()
    }
}

/// Until somebody asked it to end.
fn lived(pod: &Shown, now: Timestamp) -> Duration {
    let ended = pod.deleted_at.unwrap_or(now);
    Duration::try_from(ended.duration_since(pod.created_at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auditor::shown::tests::{json, read};

    fn pod(owner: &str, routed: bool) -> Shown {
        let mut pod = json("corp.example/x:1");
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "x.example/v1", "kind": "Runner", "name": owner, "uid": "u", "controller": true},
        ]);
        if routed {
            pod["metadata"]["annotations"] = json!({"drayage.dev/routed": r#"{"main":"src/x:1"}"#});
        }
        read(&pod)
    }

    /// So long after the pods of these claims were created.
    fn after(seconds: u64) -> Timestamp {
        pod("r", true).created_at.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    fn found(losses: &[(Shown, u64)], alive: &[Shown], now: u64) -> Vec<(String, usize)> {
        let mut recreations = Recreations::default();
        losses.iter().for_each(|(pod, at)| recreations.gone(pod, after(*at)));
        let found = recreations.found(alive.iter(), after(now));
        found.into_iter().map(|found| (found.owner.name.clone(), found.pods)).collect()
    }

    #[test]
    fn an_owner_that_loses_five_routed_pods_none_of_which_settled_is_found() {
        let lost = |count| vec![(pod("r", true), 10); count];
        assert_eq!(found(&lost(4), &[], 20), []);
        assert_eq!(found(&lost(5), &[], 20), [("r".to_owned(), 5)]);
        assert_eq!(found(&lost(5), &[pod("r", true)], 20), [("r".to_owned(), 5)], "the next one lives");
        assert_eq!(found(&lost(5), &[], 20 + WITHIN.as_secs()), [], "that is long ago");
        assert_eq!(found(&vec![(pod("r", false), 10); 9], &[], 20), [], "they were not routed");
        let two = [lost(3), vec![(pod("s", true), 10); 3]].concat();
        assert_eq!(found(&two, &[], 20), [], "each owner for itself");
    }

    #[test]
    fn a_pod_that_settles_acquits_its_owner() {
        let losses = vec![(pod("r", true), 10); 5];
        assert_eq!(found(&losses, &[pod("r", true)], 60), []);
        let settled = [losses, vec![(pod("r", true), 60)]].concat();
        assert_eq!(found(&settled, &[], 61), []);
    }

    #[test]
    fn the_grace_period_is_no_life() {
        let mut ending = pod("r", true);
        ending.deleted_at = Some(after(10));
        assert_eq!(found(&vec![(ending, 300); 5], &[], 301), [("r".to_owned(), 5)]);
    }
}
