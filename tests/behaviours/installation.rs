//! An overlay of the manifests, applied to a real cluster of one node: everything becomes ready, and
//! a pod of a labelled namespace runs from the enterprise's registry. `keys` tries who makes the keys,
//! `losses` what is refused when something goes.

pub(crate) mod creations;
mod keys;
mod losses;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::image::Image;
use harness::node::{Installation, Node, prove};
use harness::registry::{Login, Registry};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const API: &str = "drayage-api.drayage.svc";
pub(crate) const NAMESPACE: &str = "runners";
/// From one command on an empty cluster until everything is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The api of an installation, called through its Service.
struct Api {
    client: Client,
    key: String,
}

impl Api {
    async fn of(node: &Node, installation: &Installation) -> Result<Self> {
        let service = node.cluster.get(&["get", "service", "-n", "drayage", "drayage-api"]).await?;
        let address = service["spec"]["clusterIP"].as_str().context("an address")?;
        let root = reqwest::Certificate::from_pem(&installation.authority(node).await?)?;
        let client = Client::builder().tls_certs_only([root]).no_proxy();
        let client = client.resolve(API, SocketAddr::new(address.parse()?, 443)).build()?;
        let api = Self { client, key: installation.admin_key(node).await? };
        // The node hears a moment later than kubectl that there is somebody behind the Service.
        eventually("the api's Service", async || api.call(Method::GET, "registries", None).await).await?;
        Ok(api)
    }

    /// Makes a key of a type for a user.
    async fn make_key(&self, username: &str, key_type: &str) -> Result<String> {
        let body = json!({"key_label": "of a test", "key_type": key_type});
        let made = self.call(Method::POST, &format!("users/{username}/keys"), Some(body)).await?;
        Ok(made["api_key"].as_str().context("a key")?.to_owned())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(method, path, body).await?)?)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let request = self.client.request(method, format!("https://{API}/v1/{path}"));
        let request = request.header("authorization", format!("Simple {}", self.key));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(text)
    }
}

/// An overlay on a node, all of it ready.
pub(crate) struct Installed {
    pub(crate) node: Node,
    pub(crate) installation: Installation,
    api: Api,
    source: Registry,
    enterprise: Registry,
    /// The login that reads from the enterprise's registry.
    login: Login,
    image: Image,
}

impl Installed {
    pub(crate) async fn from(overlay: &str) -> Result<Self> {
        Self::on(Node::start().await?, overlay).await
    }

    async fn on(node: Node, overlay: &str) -> Result<Self> {
        let login = Login::new("reader")?;
        let (source, enterprise) =
            tokio::try_join!(node.registry(Vec::new()), node.registry(vec![login.clone()]))?;
        let start = Instant::now();
        let installation = Installation::apply(&node, overlay, &source).await?;
        installation.ready(&node, "drayage").await?;
        if overlay != "single" {
            installation.ready(&node, "drayage-webhook").await?;
        }
        eprintln!("{overlay} is ready after {:?}", start.elapsed());
        ensure!(start.elapsed() < READY_WITHIN, "{overlay} is ready after {:?}", start.elapsed());
        let api = Api::of(&node, &installation).await?;
        let image = Image::builder().program()?.label("algorithm", "primes").finish()?;
        node.cluster.namespace(NAMESPACE).await?;
        Ok(Self { node, installation, api, source, enterprise, login, image })
    }

    /// Compiles an algorithm, has it pushed, and gives the image that a pod's author writes.
    pub(crate) async fn push(&self) -> Result<String> {
        let api = &self.api;
        self.source.push(&self.image, "algorithms/ada/primes", "first").await?;
        let registry = json!({
            "name": "enterprise",
            "registry_url": format!("{}/inspected", self.enterprise.url()),
            "registry_username": self.login.username,
            "registry_password": self.login.password,
        });
        let registry = api.call(Method::POST, "registries", Some(registry)).await?["id"].clone();
        let key = api.make_key("ada", "ManagementKey").await?;
        let ada = Api { key, client: api.client.clone() };
        let algorithm = json!({"name": "primes", "details": {"label": "Primes"}});
        ada.call(Method::POST, "algorithms/ada", Some(algorithm)).await?;
        let push = json!({"commitSha": "first", "registry_push_credentials": {"registry_id": registry}});
        let built = ada.call(Method::POST, "algorithms/ada/primes/compile", Some(push)).await?;
        let hash = built["version_info"]["git_hash"].as_str().context("a version hash")?;
        let status = format!("algorithms/ada/primes/versions/{hash}/registry");
        eventually("the push", async || {
            let statuses = ada.call(Method::GET, &status, None).await?;
            ensure!(statuses[0]["status"] == "succeeded", "{statuses}");
            Ok(())
        })
        .await?;
        let image = format!("{}/algorithms/ada/primes:{hash}", self.source.host());
        eventually("the route", async || self.is_routed(&image).await).await?;
        Ok(image)
    }

    /// The two webhooks that stay, once both are ready.
    pub(crate) async fn webhooks(&self) -> Result<Vec<Value>> {
        let pods = ["get", "pods", "-n", "drayage", "-l", "app.kubernetes.io/name=drayage-webhook"];
        eventually("two webhooks", async || {
            let mut pods = self.node.cluster.get(&pods).await?;
            let mut pods = std::mem::take(pods["items"].as_array_mut().context("pods")?);
            pods.retain(|pod| {
                let stays = pod["metadata"]["deletionTimestamp"].is_null();
                stays && pod["status"]["containerStatuses"][0]["ready"] == true
            });
            ensure!(pods.len() == 2, "{pods:?}");
            Ok(pods)
        })
        .await
    }

    /// Whether webhooks route a pod, whichever of them is asked.
    async fn is_routed(&self, image: &str) -> Result<()> {
        for _ in 0..8 {
            let name = ["run", "-n", NAMESPACE, "asked", "--image", image, "--dry-run=server"];
            let pod = self.node.cluster.get(&name).await?;
            let container = &pod["spec"]["containers"][0];
            ensure!(container["image"].as_str().is_some_and(|image| image.contains("/inspected/")), "{pod}");
        }
        Ok(())
    }

    /// Creates a pod and checks that it runs the enterprise's image.
    async fn runs(&self, name: &str, image: &str) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"run": name}},
            "spec": {"containers": [{"name": "algorithm", "image": image}]},
        });
        self.node.cluster.create(&pod).await?;
        let status = self.node.runs(NAMESPACE, &format!("run={name}"), "algorithm").await?;
        let routed =
            format!("{}/inspected/algorithms/ada/primes@{}", self.enterprise.host(), self.image.digest);
        ensure!(status["imageID"] == routed, "{status} instead of {routed}");
        Ok(())
    }

    /// What came of a claim, with everything that the installed programs logged if nothing did.
    pub(crate) async fn told(&self, result: Result<()>) -> Result<()> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.installation.log(&self.node).await?)),
        }
    }
}

#[test]
fn overlay_of_one_pod_makes_pods_run_from_the_enterprises_registry() {
    prove(async {
        let installed = Installed::from("single").await?;
        let claim = async {
            let image = installed.push().await?;
            installed.runs("primes", &image).await
        };
        installed.told(claim.await).await
    });
}

#[test]
fn one_command_installs_it_and_one_takes_it_away() {
    prove(async {
        let installed = Installed::from("default").await?;
        let claim = async {
            let image = installed.push().await?;
            installed.runs("primes", &image).await?;
            // The webhook configuration goes first, so that nobody refuses what is created meanwhile.
            let api = installed.node.cluster.administrator()?;
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "meanwhile-"},
                "spec": {"containers": [{"name": "algorithm", "image": image}]},
            });
            let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
            let creations = async {
                loop {
                    api.create(&pods, &pod).await?;
                }
            };
            tokio::select! {
                removed = installed.installation.remove(&installed.node) => removed?,
                refused = creations => return refused,
            }
            api.create(&pods, &pod).await?;
            Ok(())
        };
        installed.told(claim.await).await
    });
}

#[test]
fn certificates_of_cert_manager_are_served_without_a_call_of_the_api_server() {
    prove(async {
        let installed = Installed::from("cert-manager").await?;
        let claim = async {
            let image = installed.push().await?;
            installed.runs("primes", &image).await
        };
        installed.told(claim.await).await
    });
}

#[test]
fn webhooks_of_their_own_go_on_when_one_of_them_and_the_volumes_pod_are_gone() {
    prove(async {
        let installed = Installed::from("own-certificates").await?;
        let node = &installed.node;
        let claim = async {
            let image = installed.push().await?;
            installed.runs("before", &image).await?;

            let gone = ["scale", "deployment", "-n", "drayage", "drayage", "--replicas=0"];
            node.cluster.kubectl(&gone).await?;
            let webhooks = "app.kubernetes.io/name=drayage-webhook";
            let webhooks = node.cluster.get(&["get", "pods", "-n", "drayage", "-l", webhooks]).await?;
            let one = webhooks["items"][0]["metadata"]["name"].as_str().context("a webhook")?;
            node.cluster.kubectl(&["delete", "pod", "-n", "drayage", one, "--wait=false"]).await?;
            let waiting = ["wait", "pods", "-n", "drayage", "-l", "app.kubernetes.io/name=drayage"];
            node.cluster.kubectl(&[&waiting[..], &["--for=delete", "--timeout=60s"]].concat()).await?;
            installed.is_routed(&image).await?;
            installed.runs("after", &image).await
        };
        installed.told(claim.await).await
    });
}
