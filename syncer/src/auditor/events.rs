//! Tells the people of a namespace: an Event on each pod that has become a stray, and on each controller
//! that keeps creating pods anew. They are sent slowly; what does not fit is not told, for the api lists it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use domain::Timestamp;
use domain::pod::PodState;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use store::AuditedPod;
use tokio::sync::mpsc;

use super::recreations::Recreator;
use crate::worker::chain;

/// Events that wait at the most.
const WAITING: usize = 1_000;
/// Between two Events: ten a second.
const PAUSE: Duration = Duration::from_millis(100);
/// Of a note, in bytes; the API server refuses longer ones.
const LONGEST_NOTE: usize = 1_024;
/// Of the object's name in that of the Event, in bytes; a name has at most 253.
const LONGEST_NAME: usize = 230;
const CONTROLLER: &str = "drayage.dev/syncer";

/// Where Events are handed over.
pub(super) struct Events(mpsc::Sender<Event>);

impl Events {
    /// Sends what is handed over for as long as this lives.
    pub(super) fn start(client: Client) -> Self {
        let (events, waiting) = mpsc::channel(WAITING);
        tokio::spawn(send(client, waiting));
        Self(events)
    }

    /// A pod has become a stray.
    pub(super) fn stray(&self, pod: &AuditedPod) {
        let whys: Vec<_> = pod
            .images
            .iter()
            .filter(|image| image.state == PodState::Stray)
            .map(|image| format!("{}: {}", image.entry, image.why))
            .collect();
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.name.clone()),
            namespace: Some(pod.name.namespace.clone()),
            uid: Some(pod.uid.to_string()),
            ..ObjectReference::default()
        };
        self.tell(regarding, "RunsFromElsewhere", &whys.join(". "));
    }

    /// A controller keeps creating pods anew.
    pub(super) fn recreator(&self, recreator: &Recreator) {
        let owner = &recreator.owner;
        let regarding = ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            name: Some(owner.name.clone()),
            namespace: Some(recreator.namespace.clone()),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        };
        self.tell(regarding, "RecreatesRoutedPods", &recreator.sentence());
    }

    fn tell(&self, regarding: ObjectReference, reason: &str, note: &str) {
        if self.0.try_send(event(regarding, reason, note, Timestamp::now())).is_err() {
            tracing::debug!("an Event is not sent, since too many wait");
        }
    }
}

/// Equal tidings get equal names, so that the API server takes them once.
fn event(regarding: ObjectReference, reason: &str, note: &str, now: Timestamp) -> Event {
    let mut hasher = DefaultHasher::new();
    (&regarding.uid, reason, note).hash(&mut hasher);
    let name = shortened(regarding.name.as_deref().unwrap_or_default(), LONGEST_NAME);
    // No part of a name ends with these.
    let name = name.trim_end_matches(['-', '.']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:016x}", hasher.finish())),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some("drayage-syncer".to_owned()),
        action: Some("Audit".to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(shortened(note, LONGEST_NOTE).to_owned()),
        regarding: Some(regarding),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}

fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

async fn send(client: Client, mut waiting: mpsc::Receiver<Event>) {
    while let Some(event) = waiting.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events = Api::<Event>::namespaced(client.clone(), &namespace);
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            // It was told already.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => tracing::warn!(namespace, error = %chain(&error), "an Event cannot be created"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regarding(name: &str, uid: &str) -> ObjectReference {
        let (name, uid) = (Some(name.to_owned()), Some(uid.to_owned()));
        ObjectReference { name, uid, ..ObjectReference::default() }
    }

    #[test]
    fn equal_tidings_have_one_name_and_others_another() {
        let name = |name, uid, note| {
            event(regarding(name, uid), "R", note, Timestamp::now()).metadata.name.unwrap_or_default()
        };
        assert_eq!(name("p", "1", "n"), name("p", "1", "n"));
        for other in [name("p", "2", "n"), name("p", "1", "m")] {
            assert_ne!(name("p", "1", "n"), other);
        }
    }

    #[test]
    fn an_event_is_within_the_bounds_of_the_api_server() {
        let name = format!("{}-{}", "a".repeat(229), "b".repeat(23));
        let event = event(regarding(&name, "1"), "R", &"ä".repeat(2_000), Timestamp::now());
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && name.starts_with(&format!("{}.", "a".repeat(229))), "{name}");
        assert_eq!(event.note.unwrap().len(), 1_024);
    }
}
