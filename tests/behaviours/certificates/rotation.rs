//! Authorities and leaves are renewed under admissions without one that fails. The keepers run in this
//! process, for their lives are short here; the API server that calls them is a real one.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster::Kubernetes;
use drayage_webhook::certificates::{Keeper, Lives};
use drayage_webhook::follower::Routes;
use drayage_webhook::metrics::AdmissionMetrics;
use drayage_webhook::service::Service;
use harness::claim::{PATIENCE, eventually, prove};
use harness::cluster::Cluster;
use harness::services::creation_of;
use hyper::service::service_fn;
use reqwest::{Certificate as Root, Client};
use routing::Table;
use routing::patch::Unrouted;
use runtime::Shutdown;
use runtime::admin::{Health, Metrics};
use runtime::server::Server;
use runtime::tls::{self, Certificate};
use serde_json::{Value, json};

use super::{called_at, installed};

const LIVES: Lives = Lives {
    authority: Duration::from_secs(18),
    leaf: Duration::from_secs(6),
    settling: Duration::from_secs(1),
};
/// For so long an API server goes by the bundle that it has read; less than the settling.
const STALE: Duration = Duration::from_millis(500);
/// The name that the API server asks for.
const NAME: &str = "drayage-webhook.drayage.svc";

/// A replica of the webhook, without routes.
struct Replica {
    address: SocketAddr,
    health: Health,
}

impl Replica {
    async fn start(kubeconfig: &Path, shutdown: &Shutdown) -> Result<Self> {
        let kubernetes: Result<Kubernetes, _> = format!("kubeconfig:{}", kubeconfig.display()).parse();
        let cluster =
            kubernetes.map_err(anyhow::Error::msg)?.cluster("drayage-test").await?.context("a cluster")?;
        let (certificate, health) = (Certificate::default(), Health::default());
        let keeper = Keeper::new(cluster, LIVES, certificate.clone(), health.condition("certificate"));
        tokio::spawn(keeper.run(shutdown.clone()));

        let routes = Arc::new(Routes::default());
        routes.publish(Table::new([4; 16], &[]));
        let metrics = AdmissionMetrics::register(Metrics::new()?.registry())?;
        let service = Service::new(routes, Unrouted::Allow, metrics);
        let tls = tls::server_config(&certificate)?;
        let server = Server::bind("webhook", SocketAddr::from(([127, 0, 0, 1], 0)), Some(tls)).await?;
        let address = server.address();
        let connection = move |_client| {
            let service = service.clone();
            service_fn(move |request| {
                let service = service.clone();
                async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
            })
        };
        tokio::spawn(server.serve(connection, shutdown.clone()));
        Ok(Self { address, health })
    }

    /// Posts a review over a connection of its own, as an API server that trusts this bundle.
    async fn call(&self, bundle: &[u8]) -> Result<()> {
        let client = Client::builder().tls_certs_only(Root::from_pem_bundle(bundle)?).no_proxy();
        let client = client.resolve(NAME, self.address).build()?;
        let url = format!("https://{NAME}:{}/mutate", self.address.port());
        let request = client.post(url).header("content-type", "application/json");
        let answer = request.body(creation_of(&pod()).to_string()).send().await?;
        ensure!(answer.json::<Value>().await?["response"]["allowed"] == true, "refused");
        Ok(())
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "runner", "namespace": "runners"},
        "spec": {"containers": [{"name": "runner", "image": "registry.example/other:1"}]},
    })
}

/// The API server, as its administrator calls it.
struct ApiServer {
    client: Client,
    url: String,
}

impl ApiServer {
    fn of(cluster: &Cluster) -> Result<Self> {
        let root = Root::from_pem(&fs::read(cluster.kubeconfig().with_file_name("authority.pem"))?)?;
        let client = Client::builder().tls_certs_only([root]).no_proxy().build()?;
        let file = fs::read_to_string(cluster.kubeconfig())?;
        let url = file.split("server: '").nth(1).and_then(|rest| rest.split('\'').next());
        Ok(Self { client, url: url.context("the server's URL")?.to_owned() })
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth("admin");
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn bundle(&self) -> Result<Vec<u8>> {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/drayage";
        let found = self.get(path).await?;
        decoded(&found["webhooks"][0]["clientConfig"]["caBundle"])
    }

    async fn leaf(&self) -> Result<Vec<u8>> {
        let found = self.get("/api/v1/namespaces/drayage/secrets/drayage-tls").await?;
        decoded(&found["data"]["tls.crt"])
    }

    /// Has a pod admitted, but not stored.
    async fn create(&self) -> Result<()> {
        let url = format!("{}/api/v1/namespaces/runners/pods?dryRun=All", self.url);
        let answer = self.client.post(url).bearer_auth("admin").json(&pod()).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }
}

fn decoded(base64: &Value) -> Result<Vec<u8>> {
    Ok(BASE64.decode(base64.as_str().context("base64")?)?)
}

/// What was seen while the replicas were called.
#[derive(Debug, Default)]
struct Seen {
    authorities: BTreeSet<Vec<u8>>,
    leaves: BTreeSet<Vec<u8>>,
    calls: u32,
}

/// Calls the replicas by bundles that are a little old, until enough has been renewed.
async fn call_by_stale_bundles(api: &ApiServer, replicas: [&Replica; 2]) -> Result<Seen> {
    let (start, mut seen) = (Instant::now(), Seen::default());
    while seen.authorities.len() < 4 || seen.leaves.len() < 6 {
        ensure!(start.elapsed() < PATIENCE * 2, "too little was renewed: {} calls", seen.calls);
        let (bundle, read) = (api.bundle().await?, Instant::now());
        let newest =
            bundle.split_inclusive(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"-----END"));
        seen.authorities.insert(newest.flatten().copied().collect());
        seen.leaves.insert(api.leaf().await?);
        while read.elapsed() < STALE {
            for replica in replicas {
                let told =
                    || format!("after {:?}, {} calls: {:?}", start.elapsed(), seen.calls, replica.health);
                replica.call(&bundle).await.with_context(told)?;
                seen.calls += 1;
            }
        }
    }
    Ok(seen)
}

#[test]
fn authorities_and_leaves_are_renewed_without_an_admission_that_fails() {
    prove(async {
        let (cluster, kubeconfig) = installed().await?;
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let start = || Replica::start(&kubeconfig, &shutdown);
        let (first, second) = tokio::try_join!(start(), start())?;
        called_at(&cluster, first.address.port()).await?;
        let api = ApiServer::of(&cluster)?;
        eventually("a pod", async || api.create().await).await?;
        eventually("both to be ready", async || {
            for replica in [&first, &second] {
                replica.health.readiness().map_err(anyhow::Error::msg)?;
            }
            Ok(())
        })
        .await?;

        let mut created = 0;
        let seen = {
            let calls = call_by_stale_bundles(&api, [&first, &second]);
            let creations = async {
                loop {
                    api.create().await.with_context(|| format!("creation {created}"))?;
                    created += 1;
                }
            };
            tokio::select! {
                seen = calls => seen?,
                failure = creations => return failure,
            }
        };
        ensure!(created > 100 && seen.calls > 100, "{created} creations, {} calls", seen.calls);
        shutdown.begin();
        Ok(())
    });
}
