//! The route feed: who may read it, what it says, and that it waits for news.

use super::*;

async fn reader(house: &House) -> String {
    let body = json!({"key_type": "RouteReaderKey"});
    let key = house.call("POST /v1/users/webhook/keys", &house.admin, body).await.ok();
    key["api_key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn the_feed_is_for_route_readers_and_administrators() {
    let house = House::new().await;
    let (reader, ann) = (reader(&house).await, house.user("ann").await);
    for key in [&reader, &house.admin] {
        let page = house.get("/v1/routes", key).await.ok();
        assert_eq!(page["upto"], page["head"], "{page}");
        assert!(page["facts"].as_array().is_some_and(|facts| !facts.is_empty()), "{page}");
    }
    assert_eq!(house.get("/v1/routes", &ann).await.refused(), (403, 2001));
    assert_eq!(house.get("/v1/routes", "").await.refused(), (401, 2002));
    assert_eq!(house.get("/v1/registries", &reader).await.refused(), (403, 2001));
}

#[tokio::test]
async fn what_is_no_number_is_refused_by_name() {
    let house = House::new().await;
    for query in ["after=-1", "after=x", "wait=", "after=99999999999999999999"] {
        let refused = house.get(&format!("/v1/routes?{query}"), &house.admin).await;
        assert_eq!(refused.refused(), (400, 6001), "{query}");
        assert!(refused.message().contains(query.split('=').next().unwrap_or_default()), "{refused:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_is_answered_by_the_next_commit() {
    let house = House::new().await;
    let seen = house.get("/v1/routes", &house.admin).await.ok()["head"].clone();
    let path = format!("/v1/routes?after={seen}&wait=20");
    let waiting = house.get(&path, &house.admin);
    let change = async {
        // Not before the request waits: its page is empty only then.
        tokio::task::yield_now().await;
        house.registry(json!({"registry_url": "corp.example/x"})).await
    };
    let started = std::time::Instant::now();
    let (page, registry) = tokio::join!(waiting, change);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let page = page.ok();
    assert_eq!(page["facts"][0]["registry"]["id"], json!(registry), "{page}");
}

#[tokio::test]
async fn a_request_that_does_not_wait_is_answered_at_once() {
    let house = House::new().await;
    let head = house.get("/v1/routes", &house.admin).await.ok()["head"].clone();
    let page = house.get(&format!("/v1/routes?after={head}"), &house.admin).await.ok();
    assert_eq!((&page["facts"], &page["upto"]), (&json!([]), &head));
}
