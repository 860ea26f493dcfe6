//! Claims about the pods that auditors see.

use domain::Timestamp;
use domain::pod::PodState;
use domain::registry::RegistryId;
use store::{AuditedImage, AuditedPod, PageRequest, PodName, PodsOn, Recreator};
use uuid::Uuid;

use crate::Yard;

fn name(name: &str) -> PodName {
    PodName { namespace: "runners".to_owned(), name: name.to_owned() }
}

fn image(entry: &str, state: PodState, registry: Option<RegistryId>, why: &str) -> AuditedImage {
    let (entry, image, why) = (entry.to_owned(), format!("x.example/{entry}:1"), why.to_owned());
    AuditedImage { entry, image, asked: None, state, registry, why }
}

fn pod(number: u128, images: Vec<AuditedImage>) -> AuditedPod {
    AuditedPod {
        uid: Uuid::from_u128(number),
        name: name(&format!("p{number}")),
        owner: Some("ReplicaSet/p".to_owned()),
        created_at: Timestamp::from_second(1_800_000_000).expect("a time"),
        images,
    }
}

fn stray(number: u128, why: &str) -> AuditedPod {
    let (strays, routed) = (PodState::Stray, PodState::Routed);
    pod(number, vec![image("main", strays, None, why), image("side", routed, None, "it is routed")])
}

fn page(limit: u32, after: Option<Uuid>) -> PageRequest {
    PageRequest { limit, after }
}

#[tokio::test]
async fn a_pod_is_read_as_it_was_recorded_until_it_is_gone() {
    let yard = Yard::new().await;
    let pod = stray(1, "because");
    yard.store.record_pods(vec![pod.clone()], Vec::new()).await.expect("recorded");
    let found = yard.again().await.pod(name("p1")).await.expect("read");
    assert_eq!((found.found, found.seen_at), (Some(pod), None));
    assert_eq!(yard.store.stray_pods().await.expect("read"), 1);
    assert_eq!(yard.store.recorded_pods().await.expect("read"), [Uuid::from_u128(1)]);
    yard.store.record_pods(Vec::new(), vec![Uuid::from_u128(1)]).await.expect("forgotten");
    assert_eq!(yard.store.pod(name("p1")).await.expect("read").found, None);
    assert_eq!(yard.store.stray_pods().await.expect("read"), 0);
}

#[tokio::test]
async fn of_two_auditors_only_the_one_that_is_first_has_found_a_stray() {
    let yard = Yard::new().await;
    let other = yard.again().await;
    let found = vec![Uuid::from_u128(1)];
    let routed = pod(1, vec![image("main", PodState::Routed, None, "it is routed")]);
    let record = async |store: &store::Store, pod: &AuditedPod| {
        store.record_pods(vec![pod.clone()], Vec::new()).await.expect("recorded")
    };
    assert!(record(&yard.store, &routed).await.is_empty());
    assert_eq!(record(&yard.store, &stray(1, "because")).await, found);
    assert!(record(&other, &stray(1, "because")).await.is_empty());
    assert!(record(&other, &stray(1, "for another reason")).await.is_empty());
    record(&other, &routed).await;
    assert_eq!(record(&yard.store, &stray(1, "because")).await, found);
}

#[tokio::test]
async fn recording_what_is_there_commits_nothing() {
    let yard = Yard::new().await;
    let other = yard.again().await;
    yard.store.record_pods(vec![stray(1, "because")], Vec::new()).await.expect("recorded");
    while other.changed(std::time::Duration::ZERO).await.expect("watched") {}
    let gone = vec![Uuid::from_u128(2)];
    yard.store.record_pods(vec![stray(1, "because")], gone).await.expect("recorded");
    assert!(!other.changed(std::time::Duration::ZERO).await.expect("watched"));
}

#[tokio::test]
async fn pages_are_of_one_state_and_go_on_where_a_pod_has_gone() {
    let yard = Yard::new().await;
    let routed = pod(2, vec![image("main", PodState::Routed, None, "it is routed")]);
    let pods = vec![stray(5, "w"), stray(3, "w"), stray(1, "w"), routed, stray(4, "w")];
    yard.store.record_pods(pods, Vec::new()).await.expect("recorded");
    let uids = async |state, request| -> Vec<u128> {
        let pods = yard.store.pods(state, request).await.expect("read").found;
        pods.iter().map(|pod| pod.uid.as_u128()).collect()
    };
    assert_eq!(uids(Some(PodState::Stray), page(2, None)).await, [1, 3]);
    yard.store.record_pods(Vec::new(), vec![Uuid::from_u128(3)]).await.expect("forgotten");
    let after = Some(Uuid::from_u128(3));
    assert_eq!(uids(Some(PodState::Stray), page(2, after)).await, [4, 5]);
    assert_eq!(uids(None, page(9, None)).await, [1, 2, 4, 5]);
    assert_eq!(uids(Some(PodState::Unrouted), page(9, None)).await, []);
}

#[tokio::test]
async fn pods_on_a_registry_are_counted_once_each_and_the_first_few_named() {
    let yard = Yard::new().await;
    let (here, there) = (yard.registry("one.example", None).await, yard.registry("two.example", None).await);
    let on = |number, registry| {
        let twice = ["main", "side"].map(|entry| image(entry, PodState::Routed, Some(registry), "routed"));
        pod(number, twice.to_vec())
    };
    let pods = vec![on(3, here), on(1, here), on(2, here), on(4, there), stray(5, "w")];
    yard.store.record_pods(pods, Vec::new()).await.expect("recorded");
    let found = yard.store.pods_on(here, 2).await.expect("read");
    assert_eq!(found, PodsOn { count: 3, first: vec![name("p1"), name("p2")] });
    yard.store.remove_registry(here, false).await.expect("removed");
    assert_eq!(yard.store.pods_on(here, 0).await.expect("read").count, 3, "they still run");
}

#[tokio::test]
async fn an_audit_says_when_it_was_and_who_keeps_creating_pods() {
    let yard = Yard::new().await;
    let before = Timestamp::now();
    let owner = || ("runners".to_owned(), "Runner/primes".to_owned());
    for pods in [5, 7] {
        let (namespace, owner) = owner();
        yard.store.record_audit(vec![(namespace, owner, pods)]).await.expect("recorded");
    }
    yard.store.record_audit(Vec::new()).await.expect("recorded");
    let seen = yard.store.pods(None, page(1, None)).await.expect("read").seen_at.expect("an audit");
    assert!(seen.as_millisecond() >= before.as_millisecond());
    let recreators = yard.store.recreators().await.expect("read");
    let (namespace, owner) = owner();
    assert!(
        matches!(&recreators[..], [Recreator { pods: 7, namespace: n, owner: o, .. }] if *n == namespace && *o == owner),
        "{recreators:?}"
    );
}
