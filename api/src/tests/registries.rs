//! Claims about registries.

use serde_json::{Value, json};

use super::House;

fn with_login(url: &str) -> Value {
    json!({"registry_url": url, "registry_username": "reader", "registry_password": "hunter2", "name": "main"})
}

#[tokio::test]
async fn a_login_goes_in_and_never_comes_out() {
    let house = House::new().await;
    let made = house.call("POST /v1/registries", &house.admin, with_login("h.example/team")).await.ok();
    assert_eq!((&made["registry_url"], &made["name"]), (&json!("h.example/team"), &json!("main")));
    assert_eq!(made["has_credentials"], true);
    let id = made["id"].as_str().expect("an id");
    let ann = house.user("ann").await;
    let one = house.get(&format!("/v1/registries/{id}"), &ann).await.ok();
    let all = house.get("/v1/registries", &ann).await.ok();
    assert_eq!(all, json!([one]));
    for answer in [made, one] {
        assert!(
            !answer.to_string().contains("hunter2") && !answer.to_string().contains("reader"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_field_that_is_not_right_is_named() {
    let house = House::new().await;
    let cases = [
        (json!({}), "registry_url"),
        (json!({"registry_url": null}), "registry_url"),
        (json!({"registry_url": ""}), "registry_url"),
        (json!({"registry_url": 5}), "registry_url"),
        (json!({"registry_url": "h.example/".repeat(30)}), "registry_url"),
        (json!({"registry_url": "ann:hunter2@h.example"}), "registry_url"),
        (json!({"registry_url": "h.example", "name": "n".repeat(33)}), "name"),
        (json!({"registry_url": "h.example", "name": ["n"]}), "name"),
        (json!({"registry_url": "h.example", "registry_username": "u".repeat(65)}), "registry_username"),
        (json!({"registry_url": "h.example", "registry_password": 12345}), "registry_password"),
        (json!({"registry_url": "h.example", "registry_password": "p".repeat(4097)}), "registry_password"),
        (json!({"registry_url": "h.example", "registry_username": "u"}), "registry_password"),
        (json!({"registry_url": "h.example", "registry_password": "hunter2"}), "registry_username"),
    ];
    for (body, field) in cases {
        let refused = house.call("POST /v1/registries", &house.admin, body.clone()).await;
        assert_eq!(refused.refused(), (400, 6001), "{body}");
        let message = refused.message();
        assert!(message.contains(&format!("`{field}`")), "{body}: {message}");
        assert!(!message.contains("hunter2") && !message.contains("12345"), "{body}: {message}");
    }
    assert_eq!(house.get("/v1/registries", &house.admin).await.ok(), json!([]));
}

#[tokio::test]
async fn a_replacement_keeps_the_login_only_for_the_same_host() {
    let house = House::new().await;
    let id = house.registry(with_login("h.example/team")).await;
    let put = async |body: Value| house.call(&format!("PUT /v1/registries/{id}"), &house.admin, body).await;

    let moved = put(json!({"registry_url": "h.example/other"})).await.ok();
    assert_eq!((&moved["has_credentials"], &moved["name"]), (&json!(true), &Value::Null));
    assert_eq!(moved["versions_at_old_address"], 0);
    for url in ["evil.example/team", "http://h.example/other", "h.example:444/other"] {
        let refused = put(json!({"registry_url": url})).await;
        assert_eq!(refused.refused(), (400, 7004), "{url}");
        assert!(refused.message().contains("`registry_url`"), "{}", refused.message());
    }
    let kept = house.get(&format!("/v1/registries/{id}"), &house.admin).await.ok();
    assert_eq!(kept["registry_url"], "h.example/other");

    let cleared = put(json!({"registry_url": "h.example", "registry_username": "", "registry_password": ""}));
    assert_eq!(cleared.await.ok()["has_credentials"], false);
    put(json!({"registry_url": "evil.example"})).await.ok();
}

#[tokio::test]
async fn a_deletion_says_what_depended_on_the_registry() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    house.build("ann", "echo", 'a').await;
    let id = house.registry(json!({"registry_url": "h.example"})).await;
    let push = json!({"registry_push_credentials": {"registry_id": id}});
    house.call("POST /v1/algorithms/ann/echo/version", &ann, push).await.ok();

    let call = format!("DELETE /v1/registries/{id}");
    let dependents = json!({"versions": 0, "first_versions": [], "pushes_pending": 1, "pushes_running": 0,
                            "pods": null, "first_pods": [], "pods_as_of": null});
    let refused = house.raw(&format!("{call}?if_unused=TRUE"), &house.admin, "").await;
    assert_eq!(refused.refused(), (409, 7002));
    assert_eq!(refused.body["dependents"], dependents);
    for wrong in ["if_unused=x", "if_used=true"] {
        assert_eq!(house.raw(&format!("{call}?{wrong}"), &house.admin, "").await.refused(), (400, 6001));
    }

    let deleted = house.raw(&call, &house.admin, "").await.ok();
    assert_eq!(deleted["dependents"], dependents);
    assert!(deleted["message"].as_str().is_some_and(|text| text.contains("1 pending")), "{deleted}");
    assert_eq!(house.raw(&call, &house.admin, "").await.refused(), (404, 7001));
    let hash = "a".repeat(40);
    let statuses = house.get(&format!("/v1/algorithms/ann/echo/versions/{hash}/registry"), &ann).await.ok();
    assert_eq!(
        (&statuses[0]["status"], &statuses[0]["reason"]),
        (&json!("failed"), &json!("registry_changed"))
    );
}

#[tokio::test]
async fn a_registry_is_retired_once_nothing_is_pulled_from_it_any_more() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    let (old, new) = ("old.example", "new.example");
    let (old, new) = (
        house.registry(json!({"registry_url": old})).await,
        house.registry(json!({"registry_url": new})).await,
    );
    let again = format!("POST /v1/algorithms/ann/echo/versions/{hash}/registry");
    house.call(&again, &ann, json!({"registry_id": old})).await;
    let cordon = format!("PATCH /v1/registries/{old}");
    house.call(&cordon, &house.admin, json!({"cordoned": true})).await.ok();
    house.pushed().await;
    let image = format!("/v1/explain?image=127.0.0.1:1/algorithms/ann/echo:{hash}");
    let waited = house.get(&image, &ann).await.ok();
    assert_eq!(waited["push"]["registry_id"], old, "what was asked for before goes on: {waited}");
    assert_eq!(house.raw(&again, &ann, "").await.refused(), (409, 7003));

    let delete = format!("DELETE /v1/registries/{old}?if_unused=true");
    let refused = house.raw(&delete, &house.admin, "").await;
    assert_eq!(refused.refused(), (409, 7002));
    let dependent = json!([{"algorithm": "ann/echo", "version_hash": hash}]);
    assert_eq!(refused.body["dependents"]["first_versions"], dependent);
    house.call(&again, &ann, json!({"registry_id": new})).await;
    assert_eq!(house.raw(&delete, &house.admin, "").await.refused(), (409, 7002), "the route has not moved");
    house.pushed().await;
    let deleted = house.raw(&delete, &house.admin, "").await.ok();
    assert_eq!(deleted["dependents"]["versions"], 0, "{deleted}");
    assert_eq!(house.get(&image, &ann).await.ok()["push"]["registry_id"], new);
}

#[tokio::test]
async fn a_malformed_id_is_no_registry() {
    let house = House::new().await;
    let id = house.registry(json!({"registry_url": "h.example"})).await;
    for other in ["1", "%00", "..%2Fregistries", "%ff", &id.replace('-', ""), &format!("%7B{id}%7D")] {
        let answer = house.get(&format!("/v1/registries/{other}"), &house.admin).await;
        assert_eq!(answer.refused().0, 404, "{other}");
    }
}

#[tokio::test]
async fn a_cordoned_registry_takes_no_new_pushes() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    house.build("ann", "echo", 'a').await;
    let id = house.registry(json!({"registry_url": "h.example"})).await;
    let patch =
        async |body: Value| house.call(&format!("PATCH /v1/registries/{id}"), &house.admin, body).await;
    assert_eq!(patch(json!({"cordoned": "yes"})).await.refused(), (400, 6001));
    assert_eq!(patch(json!({"cordoned": true})).await.ok()["cordoned"], true);

    let push = json!({"registry_push_credentials": {"registry_id": id}});
    for call in ["compile", "version", "versions"] {
        let path = format!("POST /v1/algorithms/ann/echo/{call}");
        assert_eq!(house.call(&path, &ann, push.clone()).await.refused(), (409, 7003), "{call}");
    }
    assert_eq!(patch(json!({"cordoned": false})).await.ok()["cordoned"], false);
    house.call("POST /v1/algorithms/ann/echo/version", &ann, push).await.ok();
}
