//! Admits pods: rewrites images to where they were last pushed, forces `imagePullPolicy: Always`.
//! `main` calls `run`; the benchmark makes a [`service`] around a table of its own. Nothing here holds a
//! registry's credentials or speaks to a registry.

pub mod admission;
pub mod certificates;
mod draining;
pub mod feed;
pub mod follower;
pub mod metrics;
mod registration;
pub mod service;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use cluster::{Cluster, Kubernetes};
use domain::registry::Address;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use routing::Table;
use runtime::Shutdown;
use runtime::admin::{self, Condition, Health, Metrics};
use runtime::duration;
use runtime::program::{ProcessArgs, UsageError};
use runtime::reload::{self, PairFiles};
use runtime::server::Server;
use runtime::tls::{self, Certificate, ChainPath, KeyPath};
use store::feed::DatabaseUrl;

use crate::certificates::{Keeper, Lives, Trusted};
use crate::feed::{ApiUrl, Origin, RoutesFrom};
use crate::follower::{Follower, Routes};
use crate::metrics::AdmissionMetrics;
use crate::service::Service;

const AGENT: &str = concat!("drayage-webhook/", env!("CARGO_PKG_VERSION"));

/// Rewrites the images of pods to the registries that they were last pushed to
///
/// The API server calls POST /mutate for the pods of the namespaces that take part. Answers come from
/// memory: a database, a syncer or a registry that is down changes nothing. Until the routes have been
/// read once, /mutate answers 503 and the webhook configuration's failurePolicy decides.
#[derive(Debug, Parser)]
#[command(name = "drayage-webhook", version = runtime::program::VERSION)]
pub struct Args {
    /// Where the API server is answered, over TLS
    #[arg(long, env = "DRAYAGE_LISTEN", default_value = "127.0.0.1:8443", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are answered, in plain HTTP
    #[arg(long, env = "DRAYAGE_ADMIN_LISTEN", default_value = "127.0.0.1:9082", value_name = "ADDR")]
    admin_listen: SocketAddr,
    /// The certificate chain in PEM, the server's own first; awaited while missing, taken up again when
    /// its bytes change
    #[arg(long, env = "DRAYAGE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<ChainPath>,
    /// The certificate's private key in PEM
    #[arg(long, env = "DRAYAGE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<KeyPath>,
    /// The cluster in which it keeps its own certificates, and caBundle of the webhook configuration:
    /// off, in-cluster or kubeconfig:PATH. With --tls-cert both are left to whoever gives that
    #[arg(long, env = "DRAYAGE_KUBERNETES", default_value = "off", value_name = "CLUSTER")]
    kubernetes: Kubernetes,
    /// The database that routes are followed in, as sqlite:PATH; it is only read, never made. Where it is
    /// on another host, give --routes-from and --routes-key-file instead
    #[arg(long, env = "DRAYAGE_DATABASE", value_name = "URL", required_unless_present = "routes_from")]
    database: Option<DatabaseUrl>,
    /// The api that routes are followed in instead, where the database is on another host
    #[arg(
        long,
        env = "DRAYAGE_ROUTES_FROM",
        value_name = "https://HOST[:PORT]",
        conflicts_with = "database",
        requires = "routes_key_file"
    )]
    routes_from: Option<ApiUrl>,
    /// The file with the key for that api, a RouteReaderKey
    #[arg(long, env = "DRAYAGE_ROUTES_KEY_FILE", value_name = "FILE")]
    routes_key_file: Option<PathBuf>,
    /// The IP address at which that api is called, without asking a DNS for its name. Kubernetes sets the
    /// variable in pods of the namespace of the Service drayage-api
    #[arg(long, env = "DRAYAGE_API_SERVICE_HOST", value_name = "IP")]
    api_service_host: Option<IpAddr>,
    /// PEM certificates of authorities to trust for that api, beside the system's
    #[arg(long, env = "DRAYAGE_TRUSTED_CA_FILE", value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Another name by which pods call the source registry, path included; repeat it for several
    #[arg(long, env = "DRAYAGE_POD_REGISTRY", value_delimiter = ',', value_name = "HOST[:PORT][/PATH]")]
    pod_registry: Vec<Address>,
    /// What becomes of an image of a compiled algorithm's source repository that was pushed nowhere: it
    /// runs from the source registry with a warning, or its pod is refused
    #[arg(long, env = "DRAYAGE_UNROUTED", default_value = "allow", value_enum)]
    unrouted: Unrouted,
    /// How long it answers on once it is asked to stop, a part of --shutdown-grace: until every API server
    /// has heard that its endpoint is gone
    #[arg(long, env = "DRAYAGE_DRAIN", default_value = "0s", value_name = "DURATION", value_parser = duration::parse)]
    drain: Duration,
    #[command(flatten)]
    process: ProcessArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Unrouted {
    Allow,
    Refuse,
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        &self.process
    }
}

/// Runs until the shutdown.
///
/// # Errors
/// What keeps it from starting: an address that is taken, or no source of random numbers.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let pair = args.pair().await?;
    let health = Health::default();
    let routes = Arc::new(Routes::default());
    let metrics = Metrics::new()?;
    let admissions = AdmissionMetrics::register(metrics.registry())?;
    let metrics = metrics::with_routes(metrics, routes.clone())?;
    let certificate = Certificate::default();
    let metrics = metrics::with_certificate(metrics, certificate.clone())?;

    let server = Server::bind("webhook", args.listen, Some(tls::server_config(&certificate)?)).await?;
    admin::start(args.admin_listen, health.clone(), metrics, shutdown.clone()).await?;

    let authorities = pair.start(certificate, health.condition("certificate"), shutdown.clone());
    let empty = Table::new(random_key()?, &args.pod_registry);
    let origin = match (args.database, args.routes_from, args.routes_key_file) {
        (_, Some(url), Some(key_file)) => {
            let (service_host, trusted_ca_file) = (args.api_service_host, args.trusted_ca_file);
            Origin::Api(RoutesFrom { url, key_file, service_host, trusted_ca_file, authorities })
        }
        (Some(database), ..) => Origin::Database(database),
        _ => return Err(UsageError::new("give --database or --routes-from".to_owned()).into()),
    };
    let follower = Follower::new(origin, empty, routes.clone(), health.condition("routes"));
    tokio::spawn(follower.run(shutdown.clone()));

    let service = Service::new(routes, args.unrouted.into(), admissions);
    let connection = |_client| {
        let (service, shutdown) = (service.clone(), shutdown.clone());
        service_fn(move |request: Request<Incoming>| {
            let (service, shutdown, version) = (service.clone(), shutdown.clone(), request.version());
            async move {
                let mut response = service.answer(request).await;
                if shutdown.is_begun() {
                    draining::part(&mut response, version);
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    server.serve(connection, draining::after(&shutdown, args.drain)).await;
    Ok(())
}

/// Where the server's certificate comes from.
enum Pair {
    Given(PairFiles),
    Kept(Cluster),
}

impl Args {
    async fn pair(&self) -> anyhow::Result<Pair> {
        if let (Some(chain), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) {
            return Ok(Pair::Given(PairFiles { chain, key }));
        }
        let cluster = self.kubernetes.cluster(AGENT).await.map_err(|error| UsageError::new(chain(&error)))?;
        let missing = "give --tls-cert and --tls-key, or --kubernetes to have it keep its certificates";
        Ok(Pair::Kept(cluster.ok_or_else(|| UsageError::new(missing))?))
    }
}

impl Pair {
    /// Has the server show it, and gives the authorities of the installation, where they are kept.
    fn start(self, certificate: Certificate, condition: Condition, shutdown: Shutdown) -> Trusted {
        match self {
            Self::Given(files) => {
                tokio::spawn(reload::follow(files, certificate, condition, shutdown));
                Trusted::default()
            }
            Self::Kept(cluster) => {
                let keeper = Keeper::new(cluster, Lives::default(), certificate, condition);
                let trusted = keeper.trusted();
                tokio::spawn(keeper.run(shutdown));
                trusted
            }
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn random_key() -> anyhow::Result<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).context("the operating system gives no random numbers")?;
    Ok(key)
}

impl From<Unrouted> for routing::patch::Unrouted {
    fn from(unrouted: Unrouted) -> Self {
        match unrouted {
            Unrouted::Allow => Self::Allow,
            Unrouted::Refuse => Self::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(more: &[&str]) -> Result<Args, clap::Error> {
        let required = ["drayage-webhook", "--tls-cert", "c", "--tls-key", "k", "--database", "sqlite:/d.db"];
        Args::try_parse_from([&required, more].concat())
    }

    #[test]
    fn the_flags_are_those_that_charts_rely_on() {
        let args = parsed(&[]).unwrap();
        assert_eq!(
            (args.listen.to_string(), args.admin_listen.to_string()),
            ("127.0.0.1:8443".to_owned(), "127.0.0.1:9082".to_owned())
        );
        assert!(matches!(args.unrouted, Unrouted::Allow) && args.pod_registry.is_empty());
        let args =
            parsed(&["--unrouted", "refuse", "--pod-registry", "a:1/x,b.example", "--pod-registry", "c:2"]);
        assert_eq!(args.unwrap().pod_registry.len(), 3);
    }

    #[test]
    fn a_wrong_flag_is_a_usage_error() {
        for wrong in [
            ["--unrouted", "maybe"],
            ["--pod-registry", "ftp://x.example"],
            ["--listen", "nowhere"],
            ["--kubernetes", "on"],
        ] {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Args::try_parse_from(["drayage-webhook", "--database", "postgres://x"]).is_err());
        let half = ["drayage-webhook", "--database", "sqlite:/d.db", "--tls-cert", "c"];
        assert!(Args::try_parse_from(half).is_err());
    }

    #[tokio::test]
    async fn a_certificate_is_given_or_kept() {
        let pair = async |flags: &[&str]| {
            let args = [&["drayage-webhook", "--database", "sqlite:/d.db"], flags].concat();
            Args::try_parse_from(args).unwrap().pair().await
        };
        let given = ["--tls-cert", "c", "--tls-key", "k", "--kubernetes", "kubeconfig:/none"];
        assert!(matches!(pair(&given).await, Ok(Pair::Given(_))));
        for (flags, told) in [
            (&[][..], "--kubernetes to have it keep"),
            (&["--kubernetes", "in-cluster"], "this is no pod"),
            (&["--kubernetes", "kubeconfig:/none"], "kubeconfig:/none"),
        ] {
            let error = pair(flags).await.err().unwrap();
            assert!(error.is::<UsageError>() && error.to_string().contains(told), "{error}");
        }
    }
}
