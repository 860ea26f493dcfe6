//! Registries change and go; what depends on them is told and fenced.

use domain::Timestamp;
use domain::credentials::Credentials;
use domain::pod::PodState;
use domain::push::{Moved, Pullable, PushStatus, Reason};
use domain::registry::RegistryId;
use store::{
    AuditedImage, AuditedPod, Dependents, Finished, LoginChange, PodName, PushRefused, PushRequest,
    RegistryChange, RemoveError, ReplaceError,
};
use uuid::Uuid;

use crate::{Yard, to};

fn moved_to(address: &str, login: LoginChange) -> RegistryChange {
    RegistryChange { address: address.parse().expect("legal"), name: None, login }
}

#[tokio::test]
async fn a_stored_login_does_not_move_to_another_host() {
    let yard = Yard::new().await;
    let login = Credentials::new("reader", "secret");
    let id = yard.registry("a.example/x", Some(login.clone())).await;
    let refused = yard.store.replace_registry(id, moved_to("b.example/x", LoginChange::Keep)).await;
    assert!(matches!(refused, Err(ReplaceError::LoginNeeded)));
    let registry = yard.store.registry(id).await.expect("answers").expect("there");
    assert_eq!(registry.address.to_string(), "a.example/x", "nothing changed");

    yard.store.replace_registry(id, moved_to("a.example/y", LoginChange::Keep)).await.expect("the same host");
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(id)).await;
    assert_eq!(yard.claim().await.expect("due").read_login, Some(login));
    let cleared = yard.store.replace_registry(id, moved_to("b.example/x", LoginChange::Clear)).await;
    assert!(!cleared.expect("no login to move").registry.has_login);
}

#[tokio::test]
async fn pushes_that_were_asked_for_at_another_host_fail_and_running_ones_are_fenced_off() {
    let yard = Yard::new().await;
    let id = yard.registry("a.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let version = yard.build(&algorithm, 'a', "v1", to(id)).await;
    let running = yard.claim().await.expect("due");
    let push = PushRequest { registry: id, login: Some(Credentials::new("pusher", "secret")) };
    yard.build(&algorithm, 'b', "v2", Some(push)).await;
    yard.store.replace_registry(id, moved_to("http://a.example/x", LoginChange::Keep)).await.expect("moved");
    let late = yard.store.finish_push(&running, Moved::default(), Pullable::Verified).await.expect("answers");
    assert_eq!(late, Finished::LeaseLost);
    assert!(yard.claim().await.is_none());
    let record = &yard.store.push_records(algorithm.uuid, version.hash).await.expect("answers")[0];
    assert_eq!((record.status, record.reason), (PushStatus::Failed, Some(Reason::RegistryChanged)));
}

#[tokio::test]
async fn a_replaced_address_tells_what_is_still_at_the_old_one() {
    let yard = Yard::new().await;
    let id = yard.registry("a.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let version = yard.build(&algorithm, 'a', "v1", to(id)).await;
    let claim = yard.claim().await.expect("due");
    yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    let replaced = yard.store.replace_registry(id, moved_to("a.example/y", LoginChange::Keep)).await;
    assert_eq!(replaced.expect("replaced").versions_at_old_address, 1);
    let record = &yard.store.push_records(algorithm.uuid, version.hash).await.expect("answers")[0];
    assert_eq!(record.image, "a.example/x/algorithms/ann/echo:v1", "it lies where it was proven");
}

#[tokio::test]
async fn a_registry_in_use_tells_what_depends_on_it() {
    let yard = Yard::new().await;
    let id = yard.registry("a.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(id)).await;
    let claim = yard.claim().await.expect("due");
    yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    yard.build(&algorithm, 'b', "v2", to(id)).await;
    let refused = yard.store.remove_registry(id, true).await;
    let Err(RemoveError::InUse(dependents)) = refused else { panic!("{refused:?}") };
    assert_eq!((dependents.versions, dependents.pushes_pending), (1, 1));
    assert_eq!(hashes(&dependents), ["v1"]);
    assert!(dependents.pods.seen_at.is_none(), "nobody has looked");
    let removed = yard.store.remove_registry(id, false).await.expect("removed");
    assert_eq!((removed.dependents.versions, removed.dependents.pushes_pending), (1, 1));
    assert!(yard.store.registry(id).await.expect("answers").is_none());
    let records = yard.store.push_records(algorithm.uuid, "v1".parse().expect("legal")).await;
    let told = records.expect("answers")[0].message.clone().unwrap_or_default();
    assert!(told.contains("the registry was deleted"), "{told}");
    assert!(yard.claim().await.is_none());
    assert!(matches!(yard.store.remove_registry(id, false).await, Err(RemoveError::Unknown)));
}

fn pod_on(registry: RegistryId) -> AuditedPod {
    let image = AuditedImage {
        entry: "main".to_owned(),
        image: "old.example/algorithms/ann/echo:v1".to_owned(),
        asked: None,
        state: PodState::Stray,
        registry: Some(registry),
        why: "its route has moved".to_owned(),
    };
    AuditedPod {
        uid: Uuid::from_u128(7),
        name: PodName { namespace: "runners".to_owned(), name: "p7".to_owned() },
        owner: None,
        created_at: Timestamp::now(),
        images: vec![image],
    }
}

fn hashes(dependents: &Dependents) -> Vec<&str> {
    dependents.first_versions.iter().map(|version| version.hash.as_str()).collect()
}

#[tokio::test]
async fn a_version_depends_on_the_registry_that_it_is_pulled_from_while_that_exists() {
    let yard = Yard::new().await;
    let (old, new) = (yard.registry("old.example", None).await, yard.registry("new.example", None).await);
    let (echo, gone) = (yard.algorithm("ann", "echo").await, yard.algorithm("ann", "gone").await);
    yard.build(&echo, 'a', "v1", to(old)).await;
    yard.build(&echo, 'b', "v2", to(old)).await;
    yard.build(&gone, 'c', "v3", to(old)).await;
    for claim in yard.claims(3).await {
        yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    }
    yard.store.remove_algorithm(gone.uuid).await.expect("answers");
    let refused = async || match yard.store.remove_registry(old, true).await {
        Err(RemoveError::InUse(dependents)) => *dependents,
        other => panic!("{other:?}"),
    };
    assert_eq!((refused().await.versions, hashes(&refused().await)), (2, vec!["v1", "v2"]));

    for (hash, left) in [("v1", &["v2"][..]), ("v2", &[])] {
        let asked = yard.store.request_push(echo.uuid, hash.parse().expect("legal"), Some(new), None).await;
        assert_eq!(asked.expect("answers"), Some(Ok(())));
        let claim = yard.claim().await.expect("due");
        yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
        if !left.is_empty() {
            assert_eq!(hashes(&refused().await), left);
        }
    }
    let pod = pod_on(old);
    yard.store.record_pods(vec![pod.clone()], Vec::new()).await.expect("recorded");
    yard.store.record_audit(Vec::new()).await.expect("recorded");
    let pods = refused().await.pods;
    assert!(pods.seen_at.is_some() && pods.found.first == [pod.name.clone()], "{pods:?}");
    yard.store.record_pods(Vec::new(), vec![pod.uid]).await.expect("gone");
    assert!(yard.store.remove_registry(old, true).await.expect("removed").dependents.is_empty());
}

#[tokio::test]
async fn a_cordoned_registry_takes_no_new_pushes_and_keeps_the_old_ones() {
    let yard = Yard::new().await;
    let id = yard.registry("a.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let version = yard.build(&algorithm, 'a', "v1", to(id)).await;
    yard.store.cordon_registry(id, true).await.expect("answers").expect("there");
    let again = yard.store.request_push(algorithm.uuid, version.hash.clone(), Some(id), None).await;
    assert_eq!(again.expect("answers"), Some(Err(PushRefused::RegistryCordoned)));
    assert!(yard.claim().await.is_some());
    yard.store.cordon_registry(id, false).await.expect("answers").expect("there");
    let again = yard.store.request_push(algorithm.uuid, version.hash, Some(id), None).await;
    assert_eq!(again.expect("answers"), Some(Ok(())));
    assert!(yard.store.cordon_registry(RegistryId(Uuid::new_v4()), true).await.expect("answers").is_none());
}

#[tokio::test]
async fn read_logins_are_told_when_a_registry_has_changed_and_for_every_place_that_routes_lead_to() {
    let yard = Yard::new().await;
    let login = Credentials::new("reader", "p\"ä\\ss");
    let id = yard.registry("a.example/x", Some(login.clone())).await;
    yard.registry("open.example", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(id)).await;
    let claim = yard.claim().await.expect("due");
    yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    let mut seen = None;
    for (address, told) in
        [("a.example/x", &["a.example/x"][..]), ("a.example/y", &["a.example/x", "a.example/y"])]
    {
        let change = moved_to(address, LoginChange::Keep);
        yard.store.replace_registry(id, change).await.expect("the same host");
        let found = yard.store.read_logins(seen).await.expect("answers").expect("something has changed");
        let [found_login] = &found.logins[..] else { panic!("{found:?}") };
        assert_eq!((found_login.registry, found_login.login.clone()), (id, Ok(login.clone())));
        assert_eq!(found_login.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), told);
        seen = Some(found.revision);
        assert!(yard.store.read_logins(seen).await.expect("answers").is_none(), "nothing has changed");
    }
    // At another host the login of the former one is of no use.
    let change = moved_to("b.example/x", LoginChange::Set(login));
    yard.store.replace_registry(id, change).await.expect("replaced");
    let found = yard.store.read_logins(seen).await.expect("answers").expect("it has moved");
    assert_eq!(found.logins[0].addresses.len(), 1);
    yard.store.remove_registry(id, false).await.expect("removed");
    let left = yard.store.read_logins(Some(found.revision)).await.expect("answers").expect("it has gone");
    assert!(left.logins.is_empty());
}
