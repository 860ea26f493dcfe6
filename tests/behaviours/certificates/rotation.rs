//! Authorities and leaves are renewed under admissions without one that fails. The keepers run in this
//! process, for their lives are short here; the API server that calls them is a real one.

use std::collections::BTreeSet;
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
use harness::cluster::Administrator;
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
use tokio::task::JoinSet;

use super::{called_at, installed};

const LIVES: Lives = Lives {
    authority: Duration::from_secs(18),
    leaf: Duration::from_secs(6),
    settling: Duration::from_secs(1),
};
/// For so long an API server goes by the bundle that it has read; less than the settling.
const STALE: Duration = Duration::from_millis(500);
/// Between two calls: 500 a second.
const PACE: Duration = Duration::from_millis(2);
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

    /// An API server that trusts this bundle, without a connection yet.
    fn caller(&self, bundle: &[u8]) -> Result<Caller> {
        let client = Client::builder().tls_certs_only(Root::from_pem_bundle(bundle)?).no_proxy();
        let client = client.resolve(NAME, self.address).build()?;
        Ok(Caller { client, url: format!("https://{NAME}:{}/mutate", self.address.port()) })
    }
}

/// Somebody who posts reviews to one replica.
#[derive(Clone)]
struct Caller {
    client: Client,
    url: String,
}

impl Caller {
    async fn call(self, review: Arc<str>) -> Result<()> {
        let request = self.client.post(&self.url).header("content-type", "application/json");
        let answer = request.body(review.to_string()).send().await?;
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

/// What an API server reads before it calls.
async fn bundle(api: &Administrator) -> Result<Vec<u8>> {
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/drayage";
    decoded(&api.get(path).await?["webhooks"][0]["clientConfig"]["caBundle"])
}

async fn leaf(api: &Administrator) -> Result<Vec<u8>> {
    decoded(&api.get("/api/v1/namespaces/drayage/secrets/drayage-tls").await?["data"]["tls.crt"])
}

/// Has a pod admitted, but not stored.
async fn create(api: &Administrator) -> Result<()> {
    api.create("/api/v1/namespaces/runners/pods?dryRun=All", &pod()).await?;
    Ok(())
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

/// Calls the replicas by bundles that are a little old, until enough has been renewed: at a steady pace, each
/// with connections of its own since it read the bundle.
async fn call_by_stale_bundles(api: &Administrator, replicas: [&Replica; 2]) -> Result<Seen> {
    let (start, mut seen) = (Instant::now(), Seen::default());
    let (review, mut calls) = (Arc::<str>::from(creation_of(&pod()).to_string()), JoinSet::new());
    let mut pace = tokio::time::interval(PACE);
    while seen.authorities.len() < 4 || seen.leaves.len() < 6 {
        ensure!(start.elapsed() < PATIENCE * 2, "too little was renewed: {} calls", seen.calls);
        let (bundle, read) = (bundle(api).await?, Instant::now());
        let newest =
            bundle.split_inclusive(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"-----END"));
        seen.authorities.insert(newest.flatten().copied().collect());
        seen.leaves.insert(leaf(api).await?);
        let callers = [replicas[0].caller(&bundle)?, replicas[1].caller(&bundle)?];
        while read.elapsed() < STALE {
            for caller in &callers {
                pace.tick().await;
                calls.spawn(caller.clone().call(review.clone()));
                seen.calls += 1;
            }
            while let Some(called) = calls.try_join_next() {
                called?.with_context(|| format!("after {:?}, {} calls", start.elapsed(), seen.calls))?;
            }
        }
    }
    for called in calls.join_all().await {
        called?;
    }
    let rate = f64::from(seen.calls) / start.elapsed().as_secs_f64();
    eprintln!("{} calls, {rate:.0} a second, {} leaves", seen.calls, seen.leaves.len());
    // Half of what is meant is still many times what a rotation takes, where tests share a machine.
    ensure!(rate > 0.5 / PACE.as_secs_f64(), "{rate} calls a second");
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
        let api = cluster.administrator()?;
        eventually("a pod", async || create(&api).await).await?;
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
                    create(&api).await.with_context(|| format!("creation {created}"))?;
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
