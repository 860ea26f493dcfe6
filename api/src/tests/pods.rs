//! What auditors found of running pods: who may see it, page by page, and what is said where none has looked.

use domain::pod::PodState;
use store::{AuditedImage, AuditedPod, PodName};
use uuid::Uuid;

use super::*;

fn pod(number: u128, state: PodState) -> AuditedPod {
    let image = AuditedImage {
        entry: "main".to_owned(),
        image: "built.example/algorithms/ann/echo:abc".to_owned(),
        asked: None,
        state,
        registry: None,
        why: format!("because of {number}"),
    };
    AuditedPod {
        uid: Uuid::from_u128(number),
        name: PodName { namespace: "runners".to_owned(), name: format!("p{number}") },
        owner: Some("ReplicaSet/echo".to_owned()),
        created_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
        images: vec![image],
    }
}

async fn audited() -> House {
    let house = House::new().await;
    let strays = (1..=3).map(|number| pod(number, PodState::Stray));
    let pods = strays.chain([pod(4, PodState::Routed)]).collect();
    house.store.record_pods(pods, Vec::new()).await.expect("a store");
    house
        .store
        .record_audit(vec![("runners".to_owned(), "Runner/echo".to_owned(), 5)])
        .await
        .expect("a store");
    house
}

#[tokio::test]
async fn the_pods_of_a_state_are_listed_page_by_page() {
    let house = audited().await;
    let page = house.get("/v1/pods?state=stray&limit=2", &house.admin).await.ok();
    assert!(page["as_of"].is_string(), "{page}");
    let first = &page["results"][0];
    let expected = json!({
        "namespace": "runners", "name": "p1", "uid": Uuid::from_u128(1), "owner": "ReplicaSet/echo",
        "state": "stray", "created_at": "2026-01-02T03:04:05.000Z",
        "images": [{"entry": "main", "image": "built.example/algorithms/ann/echo:abc", "asked_for": null,
                    "state": "stray", "registry_id": null, "sentence": "because of 1"}],
    });
    assert_eq!(*first, expected);
    assert_eq!(page["recreating_owners"][0]["owner"], "Runner/echo", "{page}");
    let next = page["next_link"].as_str().expect("another page");
    let next = house.get(next, &house.admin).await.ok();
    assert_eq!(next["results"][0]["name"], "p3", "{next}");
    assert!(next["results"][1].is_null() && next["next_link"].is_null(), "{next}");
    let all = house.get("/v1/pods", &house.admin).await.ok();
    assert_eq!(all["results"].as_array().map(Vec::len), Some(4), "{all}");
}

#[tokio::test]
async fn pods_are_for_administrators() {
    let house = audited().await;
    let ann = house.user("ann").await;
    for path in ["/v1/pods", "/v1/explain?namespace=runners&pod=p1"] {
        assert_eq!(house.get(path, &ann).await.refused(), (403, 2001), "{path}");
        assert_eq!(house.get(path, "").await.refused(), (401, 2002), "{path}");
    }
    assert_eq!(house.get("/v1/pods?state=lost", &house.admin).await.refused(), (400, 6001));
    assert_eq!(house.get("/v1/explain?namespace=runners", &house.admin).await.refused(), (400, 6001));
}

#[tokio::test]
async fn a_pod_is_explained_by_its_images() {
    let house = audited().await;
    let why = house.get("/v1/explain?namespace=runners&pod=p1", &house.admin).await.ok();
    assert_eq!(
        (&why["sentence"], &why["pod"]["state"]),
        (&json!("main: because of 1"), &json!("stray")),
        "{why}"
    );
    assert_eq!(why["images"][0]["image"], why["pod"]["images"][0]["image"], "{why}");
    let why = house.get("/v1/explain?namespace=runners&pod=nobody", &house.admin).await.ok();
    assert!(
        why["pod"].is_null() && why["sentence"].as_str().is_some_and(|why| why.contains("does not run")),
        "{why}"
    );
}

#[tokio::test]
async fn where_no_auditor_has_looked_the_answer_says_so() {
    let house = House::new().await;
    let page = house.get("/v1/pods", &house.admin).await.ok();
    assert!(page["as_of"].is_null() && page["results"] == json!([]), "{page}");
    let why = house.get("/v1/explain?namespace=runners&pod=p1", &house.admin).await.ok();
    assert!(why["sentence"].as_str().is_some_and(|why| why.contains("--kubernetes")), "{why}");
}
