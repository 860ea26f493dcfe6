//! A pod as the API server shows it, trimmed while it is read to what is judged. Its images are walked by
//! the code that admits it. Replicas share their images and their owner: a pod takes some 300 bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use routing::images::Object;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::value::RawValue;
use store::PodName;
use uuid::Uuid;

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) uid: Uuid,
    pub(super) name: PodName,
    pub(super) created_at: Timestamp,
    /// When it was asked to end, if it was.
    pub(super) deleted_at: Option<Timestamp>,
    /// It has ended by itself, or mirrors a static pod, which runs whatever the API server stores.
    pub(super) is_exempt: bool,
    /// Its controller.
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) images: Arc<[Named]>,
}

/// What creates a pod anew when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    #[serde(default)]
    controller: bool,
}

/// One image of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    /// The container's name, or `volume/NAME`.
    pub(super) entry: String,
    pub(super) image: String,
    /// What the pod says that it asked for here before it was routed.
    pub(super) asked: Option<String>,
}

impl Shown {
    /// Whether an admission has routed any of it.
    pub(super) fn was_routed(&self) -> bool {
        self.images.iter().any(|named| named.asked.is_some())
    }

    fn read(json: &str) -> serde_json::Result<Self> {
        let Read { metadata, status } = serde_json::from_str(json)?;
        let Object(pod) = serde_json::from_str::<Object<routing::images::Pod<'_>>>(json)?;
        let mut reported = pod.reported().unwrap_or_default();
        let named = pod.images().map(|image| {
            let entry = image.title().into_owned();
            Named { asked: reported.remove(&entry), image: image.image.to_owned(), entry }
        });
        let grace = Duration::from_secs(metadata.deletion_grace_period_seconds);
        Ok(Self {
            uid: metadata.uid,
            name: PodName { namespace: metadata.namespace.into(), name: metadata.name.into() },
            created_at: metadata.creation_timestamp,
            deleted_at: metadata.deletion_timestamp.map(|over| over.checked_sub(grace).unwrap_or(over)),
            is_exempt: pod.is_mirror() || matches!(&*status.phase, "Succeeded" | "Failed"),
            owner: metadata.owner_references.into_iter().find(|owner| owner.controller).map(Arc::new),
            images: named.collect(),
        })
    }
}

/// What is read of the JSON beside the images.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(default, borrow)]
    status: Status<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    uid: Uuid,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    creation_timestamp: Timestamp,
    /// When the grace period is over.
    deletion_timestamp: Option<Timestamp>,
    /// In seconds.
    #[serde(default)]
    deletion_grace_period_seconds: u64,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(default, borrow)]
    phase: Cow<'a, str>,
}

/// What lists and watches give: a pod, or nothing where one cannot be read, for the others shall be.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its version alone, which the watch goes on from.
    metadata: ObjectMeta,
    pub(super) shown: Option<Shown>,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: Option<String>,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let Versioned { metadata } = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        let shown = Shown::read(json.get())
            .inspect_err(|error| tracing::warn!(%error, "a pod cannot be read, and is not audited"))
            .ok();
        let metadata = ObjectMeta { resource_version: metadata.resource_version, ..ObjectMeta::default() };
        Ok(Self { metadata, shown })
    }
}

impl Resource for Listed {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What several pods have in common, held once.
#[derive(Default)]
pub(super) struct Shared {
    images: HashSet<Arc<[Named]>>,
    owners: HashSet<Arc<Owner>>,
}

impl Shared {
    /// The same pod, holding what others hold.
    pub(super) fn with(&mut self, mut shown: Shown) -> Shown {
        shown.images = one_of(&mut self.images, shown.images);
        shown.owner = shown.owner.map(|owner| one_of(&mut self.owners, owner));
        shown
    }

    /// Forgets what no pod holds any more.
    pub(super) fn prune(&mut self) {
        self.images.retain(|held| Arc::strong_count(held) > 1);
        self.owners.retain(|held| Arc::strong_count(held) > 1);
    }
}

fn one_of<T: Eq + Hash + ?Sized>(held: &mut HashSet<Arc<T>>, new: Arc<T>) -> Arc<T> {
    match held.get(&new) {
        Some(known) => known.clone(),
        None => {
            held.insert(new.clone());
            new
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod as an API server would show it, of one container.
    pub(in crate::auditor) fn json(image: &str) -> Value {
        json!({
            "metadata": {
                "name": "p", "namespace": "runners", "uid": "00000000-0000-0000-0000-000000000001",
                "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {"containers": [{"name": "main", "image": image}]},
            "status": {"phase": "Pending"},
        })
    }

    pub(in crate::auditor) fn read(pod: &Value) -> Shown {
        serde_json::from_str::<Listed>(&pod.to_string()).unwrap().shown.unwrap()
    }

    #[test]
    fn a_pod_is_read_with_its_images_and_what_it_asked_for() {
        let mut pod = json("corp.example/x:1");
        pod["metadata"]["annotations"] =
            json!({"drayage.dev/routed": r#"{"main":"src/x:1","gone":"src/y:1","volume/v":"src/v:1"}"#});
        pod["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": "corp.example/v:1"}}]);
        pod["spec"]["initContainers"] = json!([{"name": "before", "image": "busybox"}]);
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true},
        ]);
        let shown = read(&pod);
        let found: Vec<_> = shown
            .images
            .iter()
            .map(|named| (named.entry.as_str(), named.image.as_str(), named.asked.as_deref()))
            .collect();
        let expected = [
            ("before", "busybox", None),
            ("main", "corp.example/x:1", Some("src/x:1")),
            ("volume/v", "corp.example/v:1", Some("src/v:1")),
        ];
        assert_eq!(found, expected);
        assert_eq!(shown.owner.as_ref().unwrap().name, "r");
        assert!(shown.was_routed() && !shown.is_exempt && shown.deleted_at.is_none());
    }

    #[test]
    fn a_pod_that_ended_by_itself_or_is_a_mirror_is_exempt_and_one_that_is_asked_to_end_is_not() {
        let mut mirror = json("x");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "h"});
        assert!(read(&mirror).is_exempt);
        for (phase, exempt) in [("Succeeded", true), ("Failed", true), ("Running", false), ("Unknown", false)]
        {
            let mut pod = json("x");
            pod["status"]["phase"] = phase.into();
            assert_eq!(read(&pod).is_exempt, exempt, "{phase}");
        }
        let mut ending = json("x");
        ending["metadata"]["deletionTimestamp"] = "2026-01-02T03:05:05Z".into();
        ending["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        let ending = read(&ending);
        assert_eq!(ending.deleted_at.unwrap().to_string(), "2026-01-02T03:04:35Z");
        assert!(!ending.is_exempt);
    }

    #[test]
    fn a_pod_that_cannot_be_read_spoils_no_list() {
        let mut odd = json("x");
        odd["metadata"]["uid"] = "not one".into();
        let listed: Vec<Listed> = serde_json::from_value(json!([odd, json("x")])).unwrap();
        assert!(listed[0].shown.is_none() && listed[1].shown.is_some());
        assert_eq!(listed[0].metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn replicas_share_their_images() {
        let mut shared = Shared::default();
        let (one, other) = (shared.with(read(&json("x"))), shared.with(read(&json("x"))));
        assert!(Arc::ptr_eq(&one.images, &other.images));
        drop((one, other));
        shared.prune();
        assert!(shared.images.is_empty());
    }
}
