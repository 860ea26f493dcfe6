//! Whatever a caller sends, the answer is never a failure of ours.

use serde_json::{Value, json};

use super::House;

/// Values that are wrong in most places, or odd where they are right.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\r\nb: c"),
        json!("../../etc/passwd"),
        json!("'; DROP TABLE push; --"),
        json!("\u{202e}\u{fffd}😀é"),
        json!("x".repeat(5_000)),
        json!([]),
        json!([[[]]]),
        json!({}),
        json!({"": {"": ""}}),
        json!("0b6e2c2e-5d1c-4a56-9a0d-0d3f1d9f3a11"),
        json!("http://[::1]:5000/x"),
    ]
}

#[tokio::test]
async fn odd_values_in_any_field_are_answered() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    let push = json!({"registry_id": "x", "registry_username": "u", "registry_password": "p"});
    let registry = house.registry(json!({"registry_url": "h.example"})).await;
    let info = json!({"version_type": "minor", "release_notes": "", "sample_input": "", "sample_output": "", "insights_enabled": true});
    let settings = json!({"algorithm_callability": "public", "pipeline_enabled": true, "royalty_microcredits": 0, "other": 1});
    let details = json!({"label": "l", "summary": "", "tagline": ""});
    let replacement =
        json!({"registry_url": "h.example", "name": "n", "registry_username": "u", "registry_password": "p"});
    let publication = json!({"details": details, "settings": settings, "version_info": info, "registry_push_credentials": push});
    let calls = [
        ("POST /v1/registries".to_owned(), &house.admin, replacement.clone()),
        (format!("PUT /v1/registries/{registry}"), &house.admin, replacement),
        (format!("PATCH /v1/registries/{registry}"), &house.admin, json!({"cordoned": true})),
        (
            "POST /v1/users/eve/keys".to_owned(),
            &house.admin,
            json!({"key_label": "l", "key_type": "ManagementKey"}),
        ),
        (
            "POST /v1/algorithms/ann".to_owned(),
            &ann,
            json!({"name": "n", "details": details, "settings": settings, "version_info": info}),
        ),
        ("PUT /v1/algorithms/ann/echo".to_owned(), &ann, json!({"details": details, "settings": settings})),
        (
            "POST /v1/algorithms/ann/echo/compile".to_owned(),
            &ann,
            json!({"commitSha": "x", "registry_push_credentials": push}),
        ),
        ("POST /v1/algorithms/ann/echo/version".to_owned(), &ann, publication),
        (format!("POST /v1/algorithms/ann/echo/versions/{hash}/registry"), &ann, push.clone()),
    ];
    for (call, key, body) in calls {
        for odd in odd_values() {
            for body in variants(&body, &odd) {
                let answer = house.call(&call, key, body.clone()).await;
                assert!(answer.status.as_u16() < 500, "{call} {body:.300}: {answer:?}");
            }
        }
    }
}

/// The body with the odd value in its own place, and in the place of each of its members, at any depth.
fn variants(body: &Value, odd: &Value) -> Vec<Value> {
    let mut found = vec![odd.clone()];
    for (name, member) in body.as_object().into_iter().flatten() {
        for variant in variants(member, odd) {
            let mut changed = body.clone();
            changed[name] = variant;
            found.push(changed);
        }
    }
    found
}

#[tokio::test]
async fn odd_paths_and_queries_are_answered() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let odd =
        ["%00", "%ff%fe", "..", "%2e%2e%2f", "%F0%9F%98%80", "'", "a%20b", "*", "%7B%7D", "-", "ann%2Fecho"];
    let long = "x".repeat(4_000);
    for segment in odd.into_iter().chain([long.as_str()]) {
        for path in [
            format!("/v1/algorithms/{segment}"),
            format!("/v1/algorithms/ann/{segment}"),
            format!("/v1/algorithms/{segment}/echo/versions"),
            format!("/v1/algorithms/ann/echo/versions/{segment}"),
            format!("/v1/algorithms/ann/echo/versions/{segment}/registry"),
            format!("/v1/algorithms/ann/echo/builds/{segment}/logs"),
            format!("/v1/algorithms/ann/echo/versions?marker={segment}&limit={segment}"),
            format!("/v1/algorithms/ann/echo/versions?{segment}"),
            format!("/v1/registries/{segment}"),
            format!("/v1/users/{segment}/keys"),
        ] {
            for key in [&ann, &house.admin] {
                let answer = house.get(&path, key).await;
                assert!(answer.status.as_u16() < 500, "{path}: {answer:?}");
            }
        }
    }
}
