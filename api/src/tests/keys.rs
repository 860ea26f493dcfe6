//! Claims about keys and roles.

use http::StatusCode;
use serde_json::json;

use super::House;
use crate::key_files;

#[tokio::test]
async fn a_key_is_shown_once_and_its_revocation_counts_at_once() {
    let house = House::new().await;
    let made = house.call("POST /v1/users/ann/keys", &house.admin, json!({"key_label": "ci"})).await.ok();
    let key = made["api_key"].as_str().expect("a key");
    assert!(key.len() == 28 && key.starts_with("sim"), "{key}");
    assert_eq!(made["key_type"], "ManagementKey");

    let listed = house.get("/v1/users/ANN/keys", &house.admin).await.ok();
    assert_eq!(listed[0]["api_key_mask"], made["api_key_mask"]);
    assert_eq!((&listed[0]["username"], &listed[0]["key_label"]), (&json!("ann"), &json!("ci")));
    assert!(!listed.to_string().contains(key));

    house.get("/v1/registries", key).await.ok();
    let mask = made["api_key_mask"].as_str().expect("a mask");
    let revoke = format!("DELETE /v1/users/ann/keys/{mask}");
    assert_eq!(house.raw(&revoke, &house.admin, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get("/v1/registries", key).await.refused(), (401, 2002));
    assert_eq!(house.raw(&revoke, &house.admin, "").await.refused(), (404, 2015));
    assert_eq!(house.get("/v1/users/ann/keys", &house.admin).await.ok(), json!([]));
}

#[tokio::test]
async fn the_key_decides_before_the_body_is_looked_at() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    for call in ["POST /v1/registries", "POST /v1/users/ann/keys", "POST /v1/algorithms/bob"] {
        assert_eq!(house.raw(call, "simWRONG", "{").await.refused(), (401, 2002), "{call}");
        assert_eq!(house.raw(call, &ann, "{").await.refused(), (403, 2001), "{call}");
    }
    let refused = house.raw("GET /v1/registries", "Basic YTpi", "").await;
    assert_eq!(refused.refused(), (401, 2002));
    assert_eq!(refused.headers["www-authenticate"], "Simple");
}

#[tokio::test]
async fn a_key_type_is_one_of_three() {
    let house = House::new().await;
    let make = async |kind: &str| {
        house.call("POST /v1/users/ann/keys", &house.admin, json!({"key_type": kind})).await
    };
    let admin = make("PlatformAdminKey").await.ok();
    house.get("/v1/users/ann/keys", admin["api_key"].as_str().expect("a key")).await.ok();
    let reader = make("RouteReaderKey").await.ok();
    let reader = reader["api_key"].as_str().expect("a key");
    assert_eq!(house.get("/v1/registries", reader).await.refused(), (403, 2001));
    assert_eq!(house.get("/v1/algorithms/ann/echo", reader).await.refused(), (403, 2001));
    let refused = make("AlgorithmKey").await;
    assert_eq!(refused.refused(), (400, 6001));
    assert!(refused.message().contains("`key_type`"), "{}", refused.message());
}

#[tokio::test]
async fn a_user_is_known_from_the_first_key_on() {
    let house = House::new().await;
    assert_eq!(house.get("/v1/users/ann/keys", &house.admin).await.refused(), (404, 3000));
    assert_eq!(house.get("/v1/users/no-name/keys", &house.admin).await.refused(), (404, 3000));
    let refused = house.call("POST /v1/users/no-name/keys", &house.admin, json!({})).await;
    assert_eq!(refused.refused(), (400, 6001));
    house.user("ann").await;
    house.get("/v1/users/ann/keys", &house.admin).await.ok();
}

#[tokio::test]
async fn a_rotated_key_file_locks_nobody_out() {
    let house = House::new().await;
    let (admin, routes) = (house.folder.path().join("admin.key"), house.folder.path().join("routes.key"));
    let enforce = async || key_files::enforce(&house.store, Some(&admin), Some(&routes)).await;
    let word = |file| std::fs::read_to_string(file).expect("the file").trim().to_owned();
    enforce().await.expect("made files");
    let first = (word(&admin), word(&routes));
    house.get("/v1/registries", &first.0).await.ok();
    house.get("/v1/routes", &first.1).await.ok();

    std::fs::write(&routes, "another-routes-key\n").expect("a rotated file");
    enforce().await.expect("read files");
    assert_eq!(house.get("/v1/routes", &first.1).await.refused(), (401, 2002));
    house.get("/v1/routes", "another-routes-key").await.ok();
    house.get("/v1/registries", &first.0).await.ok();

    std::fs::write(&admin, "another-key\n").expect("a rotated file");
    enforce().await.expect("read files");
    assert_eq!(house.get("/v1/registries", &first.0).await.refused(), (401, 2002));
    house.get("/v1/registries", "Simple another-key").await.ok();
    house.get("/v1/routes", "another-routes-key").await.ok();
}

#[tokio::test]
async fn the_routes_key_of_a_file_reads_routes_alone() {
    let house = House::new().await;
    let routes = house.folder.path().join("routes.key");
    key_files::enforce(&house.store, None, Some(&routes)).await.expect("a made file");
    let key = std::fs::read_to_string(&routes).expect("the file");
    house.get("/v1/routes", key.trim()).await.ok();
    assert_eq!(house.get("/v1/registries", key.trim()).await.refused(), (403, 2001));
    house.get("/v1/registries", &house.admin).await.ok();
}

#[tokio::test]
async fn a_key_file_holds_one_word_of_its_own() {
    let house = House::new().await;
    let (admin, routes) = (house.folder.path().join("admin.key"), house.folder.path().join("routes.key"));
    for (admin_text, routes_text) in
        [("two words", "routes-key"), ("admin-key", "short"), ("one-key", "one-key")]
    {
        std::fs::write(&admin, admin_text).expect("a file");
        std::fs::write(&routes, routes_text).expect("a file");
        let error = key_files::enforce(&house.store, Some(&admin), Some(&routes)).await.expect_err("refused");
        assert!(error.is::<runtime::program::UsageError>(), "{error}");
        assert_eq!(house.get("/v1/registries", admin_text).await.refused(), (401, 2002));
    }
}
