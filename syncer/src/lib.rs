//! Performs pushes and records their status: claims what is due in the ledger, copies, proves that the
//! image can be pulled, and writes down what came of it. It serves nothing but its admin listener.

mod auditor;
mod inventory;
pub mod keys;
mod leases;
mod metrics;
mod moves;
mod outage;
mod proof;
mod pull_secrets;
mod push;
mod source;
mod troubles;
mod watching;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use cluster::Kubernetes;
use copy::Copier;
use distribution::Transport;
use domain::push::RetryPolicy;
use domain::registry::Address;
use runtime::Shutdown;
use runtime::admin::{self, Health};
use runtime::duration;
use runtime::program::{ProcessArgs, UsageError};
use store::{DatabaseUrl, OpenError, Store};

use crate::inventory::Ledger;
use crate::leases::Leases;
use crate::metrics::PushMetrics;
use crate::moves::Moves;
use crate::outage::Outage;
use crate::source::SourceLogin;
use crate::worker::{Worker, chain};

const AGENT: &str = concat!("drayage-syncer/", env!("CARGO_PKG_VERSION"));

/// Pushes algorithm images to enterprise registries and records the status of every push.
#[derive(Debug, Parser)]
#[command(
    name = "drayage-syncer",
    version = runtime::program::VERSION,
    after_help = "It shares its database with drayage-api, which writes the pushes that it performs.\n\
                  Stop it with SIGTERM: running pushes are finished or handed back. After a crash they are\n\
                  taken up again once their lease has run out. Metrics and health: http://ADMIN/metrics, /readyz.\n\
                  Before the first start in a cluster: drayage-syncer make-keys --help"
)]
pub struct Args {
    /// The database that it shares with drayage-api; made when it is missing
    #[arg(long, env = "DRAYAGE_DATABASE", value_name = "sqlite:PATH")]
    database: DatabaseUrl,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "DRAYAGE_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9081")]
    admin_listen: SocketAddr,
    /// The registry that images are built into, e.g. `registry.example:5000/platform`; `http://` in front
    /// of it means plain HTTP
    #[arg(long, env = "DRAYAGE_SOURCE_REGISTRY", value_name = "HOST[:PORT][/PATH]")]
    source_registry: Address,
    /// A Docker config.json with the login for pulling from the source registry
    #[arg(long, env = "DRAYAGE_REGISTRY_AUTH_FILE", value_name = "FILE")]
    registry_auth_file: Option<PathBuf>,
    /// PEM certificates of authorities to trust beside the system's
    #[arg(long, env = "DRAYAGE_TRUSTED_CA_FILE", value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// The key that seals credentials, 32 random bytes in base64; made when it is missing and nothing is
    /// sealed yet
    #[arg(long, env = "DRAYAGE_SEAL_KEY_FILE", value_name = "FILE")]
    seal_key_file: PathBuf,
    /// How many pushes move blobs at once; a registry to which none is moving never waits for the others
    #[arg(long, env = "DRAYAGE_CONCURRENT_PUSHES", value_name = "COUNT", default_value = "4",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrent_pushes: u16,
    /// After how many tries a push has failed
    #[arg(long, env = "DRAYAGE_MAX_TRIES", value_name = "COUNT", default_value = "8",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_tries: u32,
    /// How long after its first try a push has failed, whatever its tries
    #[arg(long, env = "DRAYAGE_GIVE_UP_AFTER", value_name = "DURATION", default_value = "15m",
          value_parser = duration::parse)]
    give_up_after: Duration,
    /// How long a worker that says nothing keeps its push
    #[arg(long, env = "DRAYAGE_LEASE", value_name = "DURATION", default_value = "30s", value_parser = lease)]
    lease: Duration,
    /// The cluster whose namespaces it gives pull Secrets and whose pods it audits: off, in-cluster or
    /// kubeconfig:PATH
    #[arg(long, env = "DRAYAGE_KUBERNETES", default_value = "off", value_name = "CLUSTER")]
    kubernetes: Kubernetes,
    /// Another name by which pods call the source registry, as the webhook is told it; repeat it for several
    #[arg(long, env = "DRAYAGE_POD_REGISTRY", value_delimiter = ',', value_name = "HOST[:PORT][/PATH]")]
    pod_registry: Vec<Address>,
    #[command(flatten)]
    process: ProcessArgs,
}

fn lease(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(lease) if lease >= Duration::from_secs(1) => Ok(lease),
        Ok(_) => Err("a lease is at least 1s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        &self.process
    }
}

/// Performs pushes until the shutdown.
///
/// # Errors
/// What keeps it from starting: a file, the database, the listener.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let cluster = args.kubernetes.cluster(AGENT).await.map_err(|error| UsageError::new(chain(&error)))?;
    let source = SourceLogin::new(args.source_registry, args.registry_auth_file)?;
    let transport = transport(args.trusted_ca_file)?;
    let store = Store::open(&args.database, &args.seal_key_file).await.map_err(told)?;
    let health = Health::default();
    let (metrics, mut page) = PushMetrics::new(&store)?;
    let (told, changes) = tokio::sync::watch::channel(());
    if let Some(cluster) = cluster {
        page = metrics::with_strays(page, &store)?;
        let (of_audit, aliases) = (health.condition("audit"), args.pod_registry);
        let audit = auditor::audit(
            cluster.clone(),
            store.clone(),
            args.database,
            aliases,
            of_audit,
            shutdown.clone(),
        );
        tokio::spawn(audit);
        let condition = health.condition("pull Secrets");
        tokio::spawn(pull_secrets::keep(cluster, store.clone(), changes, condition, shutdown.clone()));
    }
    let outage = Outage::default();
    let push = push::Context {
        copier: Copier::new(Arc::new(Ledger::new(store.clone(), outage.clone()))),
        leases: Leases::new(store.clone(), args.lease, outage.clone()),
        store,
        source,
        transport,
        moves: Moves::new(args.concurrent_pushes.into()),
        metrics,
        outage,
        policy: RetryPolicy { max_tries: args.max_tries, give_up_after: args.give_up_after },
    };
    let worker = Worker::new(health.condition("database"), push, args.lease);
    admin::start(args.admin_listen, health, page, shutdown.clone()).await?;
    worker.run(told, shutdown).await;
    Ok(())
}

fn transport(trusted_ca_file: Option<PathBuf>) -> anyhow::Result<Transport> {
    let certificates = match &trusted_ca_file {
        Some(file) => Some(
            std::fs::read(file)
                .map_err(|error| UsageError::new(format!("--trusted-ca-file {}: {error}", file.display())))?,
        ),
        None => None,
    };
    Transport::new(certificates.as_deref()).context("--trusted-ca-file")
}

fn told(error: OpenError) -> anyhow::Error {
    if error.is_configuration() {
        UsageError::new(format!("{:#}", anyhow::Error::new(error))).into()
    } else {
        error.into()
    }
}
