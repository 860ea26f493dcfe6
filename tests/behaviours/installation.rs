//! An overlay of the manifests, applied to a real cluster of one node: everything becomes ready, and
//! a pod of a labelled namespace runs from the enterprise's registry.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::image::Image;
use harness::node::{Installation, Node, prove};
use harness::registry::{Login, Registry};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const API: &str = "drayage-api.drayage.svc";
const NAMESPACE: &str = "runners";

/// The api of an installation, called through its Service.
struct Api {
    client: Client,
    key: String,
}

impl Api {
    async fn of(node: &Node, installation: &Installation) -> Result<Self> {
        let service = node.cluster.get(&["get", "service", "-n", "drayage", "drayage-api"]).await?;
        let address = service["spec"]["clusterIP"].as_str().context("an address")?;
        let root = reqwest::Certificate::from_pem(installation.authority.pem().as_bytes())?;
        let client = Client::builder().tls_certs_only([root]).no_proxy();
        let client = client.resolve(API, SocketAddr::new(address.parse()?, 443)).build()?;
        let api = Self { client, key: installation.admin_key.clone() };
        // The node hears a moment later than kubectl that there is somebody behind the Service.
        eventually("the api's Service", async || api.call(Method::GET, "registries", None).await).await?;
        Ok(api)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.client.request(method, format!("https://{API}/v1/{path}"));
        let request = request.header("authorization", format!("Simple {}", self.key));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

#[test]
fn overlay_of_one_pod_makes_pods_run_from_the_enterprises_registry() {
    prove(async {
        let node = Node::start().await?;
        let login = Login::new("reader")?;
        let (source, enterprise) =
            tokio::try_join!(node.registry(Vec::new()), node.registry(vec![login.clone()]))?;
        let installation = Installation::apply(&node, "single", &source).await?;
        installation.ready(&node).await?;

        let ran = runs_from_the_enterprise(&node, &installation, source, enterprise, login).await;
        match ran {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(installation.log(&node).await?)),
        }
    });
}

/// Compiles and pushes an algorithm, and has a pod run it.
async fn runs_from_the_enterprise(
    node: &Node,
    installation: &Installation,
    source: Registry,
    enterprise: Registry,
    login: Login,
) -> Result<()> {
    let image = Image::builder().program()?.label("algorithm", "primes").finish()?;
    source.push(&image, "algorithms/ada/primes", "first").await?;
    let api = Api::of(node, installation).await?;
    let registry = json!({
        "name": "enterprise",
        "registry_url": format!("{}/inspected", enterprise.url()),
        "registry_username": login.username,
        "registry_password": login.password,
    });
    let registry = api.call(Method::POST, "registries", Some(registry)).await?["id"].clone();
    let key = json!({"key_label": "of a test"});
    let key = api.call(Method::POST, "users/ada/keys", Some(key)).await?["api_key"].clone();
    let api = Api { key: key.as_str().context("a key")?.to_owned(), ..api };
    let algorithm = json!({"name": "primes", "details": {"label": "Primes"}});
    api.call(Method::POST, "algorithms/ada", Some(algorithm)).await?;
    let push = json!({"commitSha": "first", "registry_push_credentials": {"registry_id": registry}});
    let built = api.call(Method::POST, "algorithms/ada/primes/compile", Some(push)).await?;
    let hash = built["version_info"]["git_hash"].as_str().context("a version hash")?;
    let status = format!("algorithms/ada/primes/versions/{hash}/registry");
    eventually("the push", async || {
        let statuses = api.call(Method::GET, &status, None).await?;
        ensure!(statuses[0]["status"] == "succeeded", "{statuses}");
        Ok(())
    })
    .await?;

    node.cluster.namespace(NAMESPACE).await?;
    node.pull_secret(NAMESPACE, &enterprise, &login).await?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "primes", "namespace": NAMESPACE, "labels": {"run": "primes"}},
        "spec": {"containers": [
            {"name": "algorithm", "image": format!("{}/algorithms/ada/primes:{hash}", source.host())},
        ]},
    });
    node.cluster.create(&pod).await?;
    let status = node.runs(NAMESPACE, "run=primes", "algorithm").await?;
    let routed = format!("{}/inspected/algorithms/ada/primes@{}", enterprise.host(), image.digest);
    ensure!(status["imageID"] == routed, "{status} instead of {routed}");
    Ok(())
}
