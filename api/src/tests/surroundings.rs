//! Claims about what surrounds every request, and about the OpenAPI document.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::extract::FromRequest as _;
use axum::routing::get;
use axum::{Router, middleware};
use http::Request;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::House;
use crate::body::{BODY_LIMIT, Optional};
use crate::error::ApiError;
use crate::requests::{RequestMetrics, surround};
use crate::views::key::KeyBody;

#[tokio::test]
async fn every_refusal_is_json_whatever_the_request_accepts() {
    let house = House::new().await;
    for (method, path, refused) in [
        ("GET", "/", (404, 2015)),
        ("GET", "/v2/", (404, 2015)),
        ("PATCH", "/v1/registries", (405, 2015)),
        ("DELETE", "/v1/algorithms/ann/echo/compile", (405, 2015)),
        ("GET", "/v1/registries", (401, 2002)),
    ] {
        let request =
            Request::builder().method(method).uri(path).header("Accept", "application/octet-stream");
        let answer = house.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.refused(), refused, "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(refused.0 == 405, answer.headers.contains_key("allow"), "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_and_headers_have_limits() {
    let house = House::new().await;
    let body = format!("{{\"registry_url\": \"{}\"}}", "x".repeat(BODY_LIMIT));
    assert_eq!(house.raw("POST /v1/registries", &house.admin, body).await.refused(), (413, 2015));
    let request = Request::get("/v1/registries").header("x-large", "x".repeat(40_000));
    let answer = house.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.refused(), (431, 2015));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let read = Optional::<KeyBody>::from_request(Request::new(body), &()).await;
    assert!(matches!(read, Err(ApiError::BodyTooSlow)));
}

fn surrounded(handler: axum::routing::MethodRouter) -> Router {
    let metrics = RequestMetrics::new(&Registry::new()).expect("metrics");
    Router::new().route("/x", handler).layer(middleware::from_fn_with_state(metrics, surround))
}

async fn failure(router: Router) -> (u16, Value) {
    let answer = router.oneshot(Request::get("/x").body(Body::empty()).expect("a request")).await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn panicking() -> &'static str {
    panic!("the secret cause")
}

#[tokio::test]
async fn a_panic_is_an_internal_error_that_tells_nothing() {
    let (status, body) = failure(surrounded(get(panicking))).await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!(5001)));
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered() {
    let (status, body) = failure(surrounded(get(std::future::pending::<&'static str>))).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!(5001)));
}

#[tokio::test]
async fn metrics_are_labelled_by_template_and_never_by_path() {
    let house = House::new().await;
    house.get("/v1/algorithms/ann/secret-name", &house.admin).await;
    house.get("/invented/secret-path", &house.admin).await;
    house.raw("INVENTED /v1/registries", &house.admin, "").await;
    let page = TextEncoder::new().encode_to_string(&house.metrics.gather()).expect("a page");
    for label in [
        r#"{method="GET",route="/v1/algorithms/{owner}/{name}",status="404"} 1"#,
        r#"{method="GET",route="none",status="404"} 1"#,
        r#"{method="other",route="/v1/registries",status="405"} 1"#,
    ] {
        assert!(page.contains(&format!("drayage_http_requests_total{label}")), "{page}");
    }
    assert!(page.contains("drayage_http_request_duration_seconds_bucket{"), "{page}");
    assert!(!page.contains("secret") && !page.contains("INVENTED"), "{page}");
}

#[tokio::test]
async fn the_document_describes_the_routes_that_there_are() {
    let house = House::new().await;
    let document = house.get("/v1/openapispec", "").await.ok();
    assert_eq!(house.get("/openapi.json", "").await.ok(), document);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            // Without a key whatever is there says 401, and what is not there 404 or 405.
            let answer = house.raw(&format!("{} {path}", method.to_uppercase()), "", "").await;
            assert_eq!(answer.refused(), (401, 2002), "{method} {path}");
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} is not unique");
            let named = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<_> =
                named.filter(|param| param["in"] == "path").map(|param| param["name"].as_str()).collect();
            assert_eq!(named.len(), path.matches('{').count(), "{method} {path}");
        }
    }
    assert_eq!(ids.len(), 39);
    let text = document.to_string();
    for code in ["7001", "7002", "7003", "7004", "7005", "7006", "7007"] {
        assert!(text.contains(code), "{code}");
    }
    let fields = |schema: &str| document["components"]["schemas"][schema]["properties"].clone();
    assert_eq!(fields("RegistryRequest")["registry_password"]["oneOf"][0]["maxLength"], 4096);
    assert_eq!(fields("AlgorithmRequest")["name"]["maxLength"], 64);
    assert!(fields("PublishRequest")["registry_push_credentials"].is_object());
}
