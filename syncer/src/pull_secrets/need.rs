//! Which pods still pull with the login of a registry that has gone. Pods are watched only while a pull
//! Secret holds such a login, and of a pod only those places are kept.

use std::collections::BTreeSet;

use domain::labels::PULL_SECRET;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::Client;
use kube::runtime::watcher::{self, Config, Event};

use super::logins::pulls;
use crate::watching::{Changed, Mirror, Watch, watch};

/// A pod: its namespace and its name.
type Name = (String, String);

/// What pods need of the places that no registry is at any more.
#[derive(Default)]
pub(super) struct Need {
    /// The places that are asked about.
    places: BTreeSet<String>,
    watch: Option<Watch<Pod>>,
    pods: Mirror<Name, BTreeSet<String>>,
}

impl Need {
    /// Asks about these places from now on; without one, no pods are watched.
    pub(super) fn ask(&mut self, places: BTreeSet<String>, client: &Client) {
        if places.is_empty() {
            *self = Self::default();
        } else if !places.is_subset(&self.places) {
            let not_over = Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
            *self = Self { places, watch: Some(watch(client, not_over)), pods: Mirror::default() };
        }
    }

    /// Waits for what the watch says; for ever while nothing is asked about.
    pub(super) async fn next(&mut self) -> Option<watcher::Result<Event<Pod>>> {
        match &mut self.watch {
            Some(watch) => watch.next().await,
            None => std::future::pending().await,
        }
    }

    /// Takes up an event, and gives the namespaces in which the need may have changed.
    pub(super) fn take(&mut self, event: Event<Pod>) -> Changed<String> {
        let places = &self.places;
        let changed = self.pods.take(event, |pod| {
            let needed = needed(&pod, places);
            let name = (pod.metadata.namespace.unwrap_or_default(), pod.metadata.name.unwrap_or_default());
            (name, (!needed.is_empty()).then_some(needed))
        });
        match changed {
            Changed::Nothing => Changed::Nothing,
            Changed::One((namespace, _)) => Changed::One(namespace),
            Changed::All => Changed::All,
        }
    }

    /// Whether a pod of the namespace needs the place, or may for all that is known.
    pub(super) fn is_needed(&self, namespace: &str, place: &str) -> bool {
        if !self.pods.is_complete() || !self.places.contains(place) {
            return true;
        }
        let first = (namespace.to_owned(), String::new());
        let pods = self.pods.shown().range(first..).take_while(|((other, _), _)| other == namespace);
        pods.into_iter().any(|(_, needed)| needed.contains(place))
    }
}

/// The places from which a pod pulls with our Secret.
fn needed(pod: &Pod, places: &BTreeSet<String>) -> BTreeSet<String> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let mut secrets = spec.image_pull_secrets.iter().flatten();
    if !secrets.any(|secret| secret.name == PULL_SECRET) {
        return BTreeSet::new();
    }
    let images: Vec<_> = images(spec).collect();
    places.iter().filter(|place| images.iter().any(|image| pulls(place, image))).cloned().collect()
}

fn images(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let debuggers = spec.ephemeral_containers.iter().flatten();
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_containers = containers.filter_map(|container| container.image.as_deref());
    let of_debuggers = debuggers.filter_map(|container| container.image.as_deref());
    let of_volumes = volumes.filter_map(|image| image.reference.as_deref());
    of_containers.chain(of_debuggers).chain(of_volumes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(namespace: &str, spec: Value) -> Pod {
        let pod = json!({"metadata": {"namespace": namespace, "name": "p"}, "spec": spec});
        serde_json::from_value(pod).unwrap()
    }

    fn asked() -> Need {
        Need { places: ["a.example/x", "b.example"].map(str::to_owned).into(), ..Need::default() }
    }

    #[test]
    fn any_image_of_a_pod_that_names_our_secret_needs_its_place() {
        let ours = json!([{"name": "own"}, {"name": "drayage-registries"}]);
        let image = "a.example/x/hello:1";
        let container = json!([{"name": "c", "image": image}]);
        for (spec, is_needed) in [
            (json!({"containers": container, "imagePullSecrets": ours}), true),
            (json!({"containers": [], "initContainers": container, "imagePullSecrets": ours}), true),
            (json!({"containers": [], "ephemeralContainers": container, "imagePullSecrets": ours}), true),
            (
                json!({"containers": [], "imagePullSecrets": ours,
                       "volumes": [{"name": "v", "image": {"reference": image}}]}),
                true,
            ),
            (json!({"containers": container, "imagePullSecrets": [{"name": "own"}]}), false),
            (json!({"containers": container}), false),
            (json!({"containers": [{"name": "c", "image": "redis"}], "imagePullSecrets": ours}), false),
        ] {
            let mut need = asked();
            for event in [Event::Init, Event::InitApply(pod("runners", spec.clone())), Event::InitDone] {
                need.take(event);
            }
            assert_eq!(need.is_needed("runners", "a.example/x"), is_needed, "{spec}");
            assert!(!need.is_needed("runners", "b.example") && !need.is_needed("runner", "a.example/x"));
        }
    }

    #[test]
    fn what_is_not_known_is_needed_and_a_pod_that_goes_tells_its_namespace() {
        let spec = json!({"containers": [{"name": "c", "image": "b.example/x"}],
                          "imagePullSecrets": [{"name": "drayage-registries"}]});
        let mut need = asked();
        assert!(need.is_needed("runners", "b.example"), "no list has ended");
        need.take(Event::Init);
        assert_eq!(need.take(Event::InitDone), Changed::All);
        assert!(!need.is_needed("runners", "b.example"));
        assert!(need.is_needed("runners", "c.example"), "it is not asked about");
        assert_eq!(need.take(Event::Apply(pod("runners", spec.clone()))), Changed::One("runners".to_owned()));
        assert!(need.is_needed("runners", "b.example"));
        assert_eq!(need.take(Event::Delete(pod("runners", spec))), Changed::One("runners".to_owned()));
        assert!(!need.is_needed("runners", "b.example"));
    }
}
