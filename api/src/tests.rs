//! In-process tests: the router over a real store on a temporary file. What needs a source registry
//! runs a real one; `compiling` says how.

mod algorithms;
mod compiling;
mod explaining;
mod hostile;
mod keys;
mod pods;
mod pushes;
mod registries;
mod routes;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use distribution::Transport;
use domain::Timestamp;
use domain::access::Role;
use domain::push::{Moved, Pullable};
use domain::registry::Address;
use http::{HeaderMap, Request, StatusCode};
use prometheus::Registry as MetricsRegistry;
use runtime::Shutdown;
use serde_json::{Value, json};
use store::feed::Feed;
use store::{AlgorithmRef, BuiltImage, Claim, Finished, NewBuild, Store, Worker};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::authentication::ApiKey;
use crate::explain::PodRegistries;
use crate::requests::RequestMetrics;
use crate::router::{Api, router};
use crate::routes::Routes;
use crate::source::Source;

/// An address where nothing listens: port 1 of this machine.
const NOWHERE: &str = "http://127.0.0.1:1";

/// An api over a database of its own.
struct House {
    store: Store,
    router: Router,
    metrics: MetricsRegistry,
    folder: TempDir,
    /// A key of nobody's with the admin role.
    admin: String,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// The value, after a look at the status.
    fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        assert!(self.body.get("error").is_none(), "{self:?}");
        self.body
    }

    /// Status and code of a refusal, after a look at its shape.
    fn refused(&self) -> (u16, u64) {
        let error = &self.body["error"];
        assert!(error["id"].as_str().is_some_and(|id| id.len() == 36), "{self:?}");
        assert_eq!(error["id"].as_str(), self.headers["x-request-id"].to_str().ok(), "{self:?}");
        assert!(error["message"].is_string(), "{self:?}");
        (self.status.as_u16(), error["code"].as_u64().expect("a code"))
    }

    /// The sentence of a refusal.
    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().expect("a message")
    }
}

impl House {
    async fn new() -> Self {
        Self::beside(NOWHERE).await
    }

    /// Beside a source registry at an address.
    async fn beside(source: &str) -> Self {
        // Another test of this process may have installed it already.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("drayage.db").display());
        let url = url.parse().expect("a URL");
        let store = Store::open(&url, &folder.path().join("seal.key")).await.expect("a store");
        let key = ApiKey::random().expect("a key");
        store.enforce_file_key(Role::Admin, key.hash(), key.mask()).await.expect("a key in force");
        let address: Address = source.parse().expect("an address");
        store.set_source(address.clone()).await.expect("a source");
        let template = "algorithms/{owner}/{name}".parse().expect("a template");
        let transport = Transport::new(None).expect("a transport");
        let source = Arc::new(Source::new(transport, address, template, None));
        let metrics = MetricsRegistry::new();
        let requests = RequestMetrics::new(&metrics).expect("metrics");
        let feed = Feed::open(&url).await.expect("a feed");
        let routes = Routes::follow(feed, store.clone(), Shutdown::new(Duration::ZERO));
        let pod_registries = PodRegistries(["pods.example:5000".parse().expect("an address")].into());
        let router = router(Api { store: store.clone(), source, routes, pod_registries }, requests);
        Self { store, router, metrics, folder, admin: key.reveal().to_owned() }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// One call; an empty text is no body.
    async fn raw(&self, call: &str, key: &str, body: impl Into<Body>) -> Answer {
        let (method, path) = call.split_once(' ').expect("METHOD PATH");
        let request = Request::builder().method(method).uri(path).header("Authorization", key);
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn call(&self, call: &str, key: &str, body: Value) -> Answer {
        self.raw(call, key, body.to_string()).await
    }

    async fn get(&self, path: &str, key: &str) -> Answer {
        self.raw(&format!("GET {path}"), key, "").await
    }

    /// A new standard key of a user.
    async fn user(&self, username: &str) -> String {
        let path = format!("POST /v1/users/{username}/keys");
        let key = self.call(&path, &self.admin, json!({})).await.ok();
        key["api_key"].as_str().expect("a key").to_owned()
    }

    /// Registers a registry and gives its id.
    async fn registry(&self, body: Value) -> String {
        let registry = self.call("POST /v1/registries", &self.admin, body).await.ok();
        registry["id"].as_str().expect("an id").to_owned()
    }

    /// Makes an algorithm and gives its id.
    async fn algorithm(&self, key: &str, owner: &str, name: &str) -> String {
        let path = format!("POST /v1/algorithms/{owner}");
        let algorithm = self.call(&path, key, json!({"name": name})).await.ok();
        algorithm["id"].as_str().expect("an id").to_owned()
    }

    /// Records a build of an image that nobody has to look for, and gives the version's hash.
    async fn build(&self, owner: &str, name: &str, hex: char) -> String {
        let hash = hex.to_string().repeat(40);
        self.compiled(owner, name, &hash, hex).await;
        hash
    }

    /// Records a build of an image whose digest is made of one hex digit.
    async fn compiled(&self, owner: &str, name: &str, hash: &str, digit: char) {
        let names = AlgorithmRef::Name(owner.parse().expect("a name"), name.parse().expect("a name"));
        let algorithm = self.store.algorithm(names).await.expect("a store").expect("an algorithm");
        let image = BuiltImage {
            source: NOWHERE.parse().expect("an address"),
            repository: format!("algorithms/{owner}/{name}").parse().expect("a repository"),
            tag: "latest".parse().expect("a tag"),
            digest: format!("sha256:{}", digit.to_string().repeat(64)).parse().expect("a digest"),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            hash: hash.parse().expect("a hash"),
        };
        let build = NewBuild {
            algorithm: algorithm.uuid,
            commit: None,
            image: Some(image),
            log: "found\n".to_owned(),
            started_at: Timestamp::now(),
            push: None,
        };
        self.store.record_build(build).await.expect("a build");
    }

    /// Takes what is due, as a syncer does.
    async fn claims(&self) -> Vec<Claim> {
        let worker = Worker { name: "test".to_owned(), lease: Duration::from_secs(30), at_a_registry: 64 };
        self.store.claim_pushes(&worker, 64).await.expect("a store")
    }

    /// Everything that is due succeeds.
    async fn pushed(&self) {
        for claim in self.claims().await {
            let finished = self.store.finish_push(&claim, Moved::default(), Pullable::Verified).await;
            assert_ne!(finished.expect("a store"), Finished::LeaseLost);
        }
    }
}
