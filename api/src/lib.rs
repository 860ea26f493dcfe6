//! The documented /v1 endpoints: an HTTP shell around `store`, which keeps everything, and the source
//! registry, where compiles look for images. To make the syncer act, it writes a row.

mod address;
mod algorithms;
mod authentication;
mod body;
mod builds;
mod compile;
mod document;
mod error;
mod explain;
mod key_files;
mod keys;
mod openapi;
mod paging;
mod pods;
mod pushes;
mod registries;
mod requests;
mod router;
mod routes;
mod source;
#[cfg(test)]
mod tests;
mod versions;
mod views;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use distribution::{DockerConfig, Transport};
use domain::algorithm::RepositoryTemplate;
use domain::registry::Address;
use hyper_util::service::TowerToHyperService;
use runtime::Shutdown;
use runtime::admin::{self, Condition, Health, Metrics};
use runtime::program::{ProcessArgs, UsageError};
use runtime::reload::{self, PairFiles};
use runtime::server::Server;
use runtime::tls::{self, Certificate, ChainPath, KeyPath};
use store::feed::Feed;
use store::{DatabaseUrl, OpenError, Store};

use crate::explain::PodRegistries;
use crate::requests::RequestMetrics;
use crate::router::{Api, router};
use crate::routes::Routes;
use crate::source::Source;

/// How often it is looked whether the database answers.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Serves the /v1 endpoints: registries, algorithms, compile, publish and the status of pushes.
#[derive(Debug, Parser)]
#[command(
    name = "drayage-api",
    version = runtime::program::VERSION,
    after_help = "Files it makes when they are missing, each with mode 0600: the database, the seal key, the admin\n\
                  key and the routes key. Back up the first two together: without the seal key no stored login can\n\
                  be read.\n\
                  \n\
                  Next: start drayage-syncer with the same --database and --seal-key-file, then register a registry:\n\
                  \n  \
                  curl http://127.0.0.1:8080/v1/registries -X POST \\\n    \
                    -H \"Authorization: Simple $(cat ADMIN_KEY_FILE)\" \\\n    \
                    -d '{\"registry_url\": \"registry.example/team\"}'\n\
                  \n\
                  All calls: http://127.0.0.1:8080/openapi.json. Health and metrics: http://ADMIN/readyz, /metrics."
)]
pub struct Args {
    /// The database, shared with drayage-syncer, e.g. `sqlite:/var/lib/drayage/drayage.db`; made when it
    /// is missing
    #[arg(long, env = "DRAYAGE_DATABASE", value_name = "sqlite:PATH")]
    database: DatabaseUrl,
    /// Where the endpoints are served, e.g. `0.0.0.0:8443`
    #[arg(long, env = "DRAYAGE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "DRAYAGE_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    admin_listen: SocketAddr,
    /// The registry that images are built into, e.g. `registry.example:5000/platform`; `http://` in front
    /// of it means plain HTTP
    #[arg(long, env = "DRAYAGE_SOURCE_REGISTRY", value_name = "HOST[:PORT][/PATH]")]
    source_registry: Address,
    /// The repository of an algorithm's image in every registry
    #[arg(
        long,
        env = "DRAYAGE_SOURCE_REPOSITORY",
        value_name = "TEMPLATE",
        default_value = "algorithms/{owner}/{name}"
    )]
    source_repository: RepositoryTemplate,
    /// Another name by which pods call the source registry, as it is given to drayage-webhook, so that
    /// explanations know it too; repeat it for several
    #[arg(long, env = "DRAYAGE_POD_REGISTRY", value_delimiter = ',', value_name = "HOST[:PORT][/PATH]")]
    pod_registry: Vec<Address>,
    /// A Docker config.json with the login for pulling from the source registry, e.g. what
    /// `skopeo login --authfile` writes; read again at each compile
    #[arg(long, env = "DRAYAGE_REGISTRY_AUTH_FILE", value_name = "FILE")]
    registry_auth_file: Option<PathBuf>,
    /// PEM certificates of authorities to trust beside the system's
    #[arg(long, env = "DRAYAGE_TRUSTED_CA_FILE", value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// The key that seals credentials, 32 random bytes in base64; made when it is missing and nothing is
    /// sealed yet
    #[arg(long, env = "DRAYAGE_SEAL_KEY_FILE", value_name = "FILE")]
    seal_key_file: PathBuf,
    /// The first admin key; made when the file is missing. It is in force from the start on, and the
    /// file's former key is revoked
    #[arg(long, env = "DRAYAGE_ADMIN_KEY_FILE", value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// The key with which webhooks follow the routes and can do nothing else; made, put into force and
    /// revoked like the admin key
    #[arg(long, env = "DRAYAGE_ROUTES_KEY_FILE", value_name = "FILE")]
    routes_key_file: Option<PathBuf>,
    /// The certificate chain in PEM to serve HTTPS with; taken up again when it changes
    #[arg(long, env = "DRAYAGE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<ChainPath>,
    /// The private key of that certificate in PEM
    #[arg(long, env = "DRAYAGE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<KeyPath>,
    #[command(flatten)]
    process: ProcessArgs,
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        &self.process
    }
}

/// Serves until the shutdown.
///
/// # Errors
/// What keeps it from starting: a file, the database, a listener.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = source(&args)?;
    let store = Store::open(&args.database, &args.seal_key_file).await.map_err(told)?;
    store.set_source(args.source_registry).await?;
    key_files::enforce(&store, args.admin_key_file.as_deref(), args.routes_key_file.as_deref()).await?;

    let health = Health::default();
    let metrics = Metrics::new()?;
    let requests = RequestMetrics::new(metrics.registry())?;
    let certificate = match (args.tls_cert, args.tls_key) {
        (Some(chain), Some(key)) => Some(certificate(PairFiles { chain, key }, &health, &shutdown)),
        _ => None,
    };
    tokio::spawn(watch(store.clone(), health.condition("database"), shutdown.clone()));

    let tls = certificate.as_ref().map(tls::server_config).transpose()?;
    let server = Server::bind("api", args.listen, tls).await?;
    admin::start(args.admin_listen, health, metrics, shutdown.clone()).await?;
    let routes = Routes::follow(Feed::open(&args.database).await?, store.clone(), shutdown.clone());
    let pod_registries = PodRegistries(args.pod_registry.into());
    let router = router(Api { store, source: Arc::new(source), routes, pod_registries }, requests);
    server.serve(|_client| TowerToHyperService::new(router.clone()), shutdown).await;
    Ok(())
}

fn source(args: &Args) -> anyhow::Result<Source> {
    let authorities =
        args.trusted_ca_file.as_deref().map(|file| read(file, "--trusted-ca-file")).transpose()?;
    let transport = Transport::new(authorities.as_deref())
        .map_err(|error| UsageError::new(format!("--trusted-ca-file: {:#}", anyhow::Error::from(error))))?;
    if let Some(file) = &args.registry_auth_file {
        DockerConfig::read(file).map_err(|error| {
            let error = anyhow::Error::from(error);
            UsageError::new(format!("--registry-auth-file {}: {error:#}", file.display()))
        })?;
        if !file.exists() {
            tracing::warn!(file = %file.display(), "--registry-auth-file is not there: pulling without a login");
        }
    }
    Ok(Source::new(
        transport,
        args.source_registry.clone(),
        args.source_repository.clone(),
        args.registry_auth_file.clone(),
    ))
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>, UsageError> {
    std::fs::read(file).map_err(|error| UsageError::new(format!("{flag} {}: {error}", file.display())))
}

fn told(error: OpenError) -> anyhow::Error {
    if error.is_configuration() {
        UsageError::new(format!("{:#}", anyhow::Error::new(error))).into()
    } else {
        anyhow::Error::new(error).context("opening the database")
    }
}

fn certificate(files: PairFiles, health: &Health, shutdown: &Shutdown) -> Certificate {
    let certificate = Certificate::default();
    let condition = health.condition("certificate");
    tokio::spawn(reload::follow(files, certificate.clone(), condition, shutdown.clone()));
    certificate
}

/// Keeps the condition equal to whether the database answers.
async fn watch(store: Store, condition: Condition, shutdown: Shutdown) {
    loop {
        match store.check().await {
            Ok(()) => condition.ready(),
            Err(error) => condition.unready(format!("it does not answer: {:#}", anyhow::Error::from(error))),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.begun() => return,
        }
    }
}
