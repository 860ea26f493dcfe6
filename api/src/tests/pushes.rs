//! Claims about pushes: asked for, asked for again, and looked at.

use http::StatusCode;
use serde_json::{Value, json};

use super::House;

struct Pushed {
    house: House,
    ann: String,
    /// The path of the pushes of a version that was never pushed.
    path: String,
}

async fn built() -> Pushed {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    Pushed { house, ann, path: format!("/v1/algorithms/ann/echo/versions/{hash}/registry") }
}

impl Pushed {
    async fn again(&self, body: impl Into<axum::body::Body>) -> super::Answer {
        self.house.raw(&format!("POST {}", self.path), &self.ann, body).await
    }

    async fn statuses(&self) -> Value {
        self.house.get(&self.path, &self.ann).await.ok()
    }
}

#[tokio::test]
async fn a_push_is_asked_for_bare_wrapped_or_as_the_time_before() {
    let pushed = built().await;
    for body in ["", "{}", "null", r#"{"registry_push_credentials": {}}"#] {
        assert_eq!(pushed.again(body).await.refused(), (400, 7005), "{body}");
    }
    assert_eq!(pushed.statuses().await, json!([]));

    let id = pushed.house.registry(json!({"registry_url": "h.example/team"})).await;
    let login = json!({"registry_id": id, "registry_username": "pusher", "registry_password": "hunter2"});
    for body in [login.clone(), json!({"registry_push_credentials": login}), json!({"registry_id": id})] {
        let answer = pushed.again(body.to_string()).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::NO_CONTENT, &Value::Null));
    }
    assert_eq!(pushed.again("").await.status, StatusCode::NO_CONTENT);

    let statuses = pushed.statuses().await;
    assert_eq!(statuses.as_array().map(Vec::len), Some(1));
    assert_eq!((&statuses[0]["registry_id"], &statuses[0]["status"]), (&json!(id), &json!("pending")));
    let image = format!("h.example/team/algorithms/ann/echo:{}", "a".repeat(40));
    assert_eq!(statuses[0]["image"], json!(image));
    assert!(statuses[0]["updated_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{statuses}");
    assert!(!statuses.to_string().contains("hunter2"));
    let build = pushed.house.get("/v1/algorithms/ann/echo/builds", &pushed.ann).await.ok();
    assert_eq!(build["results"][0]["registry_status"], statuses[0]);
}

#[tokio::test]
async fn the_documented_typo_is_malformed_json() {
    let pushed = built().await;
    let body = r#"{ "registry_push_credentials": { "registry_id": "x" }' }'"#;
    assert_eq!(pushed.again(body).await.refused(), (400, 2013));
}

#[tokio::test]
async fn an_unknown_registry_records_nothing() {
    let pushed = built().await;
    for id in [json!("0b6e2c2e-5d1c-4a56-9a0d-0d3f1d9f3a11"), json!("nope"), json!(5), json!([])] {
        let credentials = json!({"registry_push_credentials": {"registry_id": id}});
        for call in ["compile", "version", "versions"] {
            let call = format!("POST /v1/algorithms/ann/echo/{call}");
            let refused = pushed.house.call(&call, &pushed.ann, credentials.clone()).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{call} {id}");
            assert!(refused.message().contains("registry_id"), "{}", refused.message());
        }
        assert_eq!(pushed.again(credentials.to_string()).await.status, StatusCode::BAD_REQUEST);
    }
    let builds = pushed.house.get("/v1/algorithms/ann/echo/builds", &pushed.ann).await.ok();
    assert_eq!(builds["results"].as_array().map(Vec::len), Some(1));
    let shown = pushed.house.get("/v1/algorithms/ann/echo", &pushed.ann).await.ok();
    assert!(shown["version_info"].get("semantic_version").is_none(), "{shown}");
}

#[tokio::test]
async fn an_administrator_pushes_again_what_is_not_theirs() {
    let pushed = built().await;
    let id = pushed.house.registry(json!({"registry_url": "h.example"})).await;
    let call = format!("POST {}", pushed.path);
    let answer = pushed.house.call(&call, &pushed.house.admin, json!({"registry_id": id})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(pushed.statuses().await.as_array().map(Vec::len), Some(1));
}
