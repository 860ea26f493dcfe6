//! A mutating webhook of somebody else, which gives every pod one container more, as service meshes
//! do. The API server asks it after ours, whose name comes before.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use runtime::Shutdown;
use runtime::server::Server;
use runtime::tls::{self, Certificate};
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::cluster::Cluster;

/// An injector that serves; it ends when it is dropped.
#[derive(Debug)]
pub struct Injector {
    shutdown: Shutdown,
}

impl Injector {
    /// What the container that it adds is called.
    pub const CONTAINER: &str = "injected";

    /// Serves, and has the pods of one namespace from now on run this image too.
    pub async fn start(cluster: &Cluster, namespace: &str, image: &str) -> Result<Self> {
        let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
        let pair = authority.write_pair(folder.path())?;
        let certificate = Certificate::default();
        certificate.replace(&fs::read(pair.chain)?, &fs::read(pair.key)?)?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind("injector", any, Some(tls::server_config(&certificate)?)).await?;
        let url = format!("https://{}/", server.address());
        let (shutdown, image) = (Shutdown::new(Duration::ZERO), Arc::<str>::from(image));
        let answer = move |request| answer(request, image.clone());
        tokio::spawn(server.serve(move |_client| service_fn(answer.clone()), shutdown.clone()));
        cluster.create(&registration(namespace, &url, &authority)).await?;
        Ok(Self { shutdown })
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn registration(namespace: &str, url: &str, authority: &Authority) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "injector"},
        "webhooks": [{
            "name": "pods.injector.example",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": url, "caBundle": BASE64.encode(authority.pem())},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
            }],
        }],
    })
}

async fn answer(request: Request<Incoming>, image: Arc<str>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The API server tells of an answer that is no review.
    let review = match request.into_body().collect().await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    Ok(Response::new(Full::new(reviewed(&review, &image).to_string().into())))
}

/// Allows a pod, with the container added unless it is there already.
fn reviewed(review: &Value, image: &str) -> Value {
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    let mut containers = request["object"]["spec"]["containers"].as_array().into_iter().flatten();
    if !containers.any(|container| container["name"] == Injector::CONTAINER) {
        let container = json!({"name": Injector::CONTAINER, "image": image});
        let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": container}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = BASE64.encode(patch.to_string()).into();
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
