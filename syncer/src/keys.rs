//! `drayage-syncer make-keys`: the keys of an installation, each in a Secret that whoever comes first makes
//! and nobody writes over, handed to the containers of its pod as files. Init containers run it; what the
//! keys are good for is the api's and the store's.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Parser, ValueEnum};
use cluster::{ClusterError, Kubernetes};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta};
use runtime::Shutdown;
use runtime::program::{ProcessArgs, UsageError};
use store::DatabaseUrl;

use crate::AGENT;
use crate::worker::chain;

/// What the program is told to do beside pushing
#[derive(Debug, Parser)]
#[command(name = "drayage-syncer", version = runtime::program::VERSION)]
pub enum Args {
    /// Makes the keys of an installation, in Secrets that are not there yet, and writes them into files
    MakeKeys(MakeKeys),
}

/// What `make-keys` is told.
#[derive(Debug, clap::Args)]
pub struct MakeKeys {
    /// The Secrets whose keys are wanted
    #[arg(required = true, value_enum)]
    secrets: Vec<Keys>,
    /// The folder for the files, each named as in its Secret and with mode 0400
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// With drayage-keys: the database, which is lost without its seal key, so that none is made once it is there
    #[arg(long, env = "DRAYAGE_DATABASE", value_name = "sqlite:PATH")]
    database: Option<DatabaseUrl>,
    /// The cluster: in-cluster or kubeconfig:PATH
    #[arg(long, env = "DRAYAGE_KUBERNETES", value_name = "CLUSTER")]
    kubernetes: Kubernetes,
    #[command(flatten)]
    process: ProcessArgs,
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        let Self::MakeKeys(args) = self;
        &args.process
    }
}

/// A Secret of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keys {
    /// seal.key and admin.key
    #[value(name = "drayage-keys")]
    Installation,
    /// routes.key, with which webhooks follow the api
    #[value(name = "drayage-routes")]
    Routes,
}

/// Makes what is missing and writes the files.
///
/// # Errors
/// The API server's refusal, a Secret that lacks a key, a folder that cannot be written.
pub async fn run(Args::MakeKeys(args): Args, _shutdown: Shutdown) -> anyhow::Result<()> {
    let cluster = args.kubernetes.cluster(AGENT).await.map_err(|error| UsageError::new(chain(&error)))?;
    let cluster =
        cluster.ok_or_else(|| UsageError::new("give --kubernetes in-cluster or kubeconfig:PATH"))?;
    let api = Api::namespaced(cluster.client, &cluster.namespace);
    for keys in args.secrets {
        let held = keys.found_or_made(&api, args.database.as_ref()).await?.data.unwrap_or_default();
        for name in keys.names() {
            let key = held.get(*name).filter(|key| !key.0.is_empty()).ok_or_else(|| {
                UsageError::new(format!("the Secret {} holds no {name}: add it", keys.secret()))
            })?;
            let file = args.into.join(name);
            hand_over(&file, &key.0).with_context(|| format!("--into {}", file.display()))?;
        }
    }
    Ok(())
}

impl Keys {
    fn secret(self) -> &'static str {
        match self {
            Self::Installation => "drayage-keys",
            Self::Routes => "drayage-routes",
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Installation => &["seal.key", "admin.key"],
            Self::Routes => &["routes.key"],
        }
    }

    async fn found_or_made(
        self,
        api: &Api<Secret>,
        database: Option<&DatabaseUrl>,
    ) -> anyhow::Result<Secret> {
        let name = self.secret();
        if let Some(found) = api.get_opt(name).await.map_err(ClusterError::of(name))? {
            return Ok(found);
        }
        if self == Self::Installation {
            let database = database.ok_or_else(|| UsageError::new("give --database"))?;
            if database.exists() {
                let lost = "there is a database, but no Secret drayage-keys that holds its seal.key: create it \
                            from your backup; no other key opens the stored logins";
                return Err(UsageError::new(lost).into());
            }
        }
        match cluster::make(api, name, "drayage-syncer", &self.fresh()?).await {
            Ok(made) => {
                tracing::info!("made the Secret {name}");
                Ok(made)
            }
            Err(ClusterError::Conflict(_)) => Ok(api.get(name).await.map_err(ClusterError::of(name))?),
            Err(error) => Err(error.into()),
        }
    }

    /// The Secret with keys that nobody has.
    fn fresh(self) -> anyhow::Result<Secret> {
        let mut data = BTreeMap::new();
        for name in self.names() {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
            // A key of the api is one word of a header.
            let text =
                if *name == "seal.key" { STANDARD.encode(bytes) } else { URL_SAFE_NO_PAD.encode(bytes) };
            data.insert((*name).to_owned(), ByteString(text.into_bytes()));
        }
        let labels = [("app.kubernetes.io/managed-by".to_owned(), "drayage".to_owned())];
        let metadata = ObjectMeta {
            name: Some(self.secret().to_owned()),
            labels: Some(BTreeMap::from(labels)),
            ..ObjectMeta::default()
        };
        Ok(Secret { metadata, data: Some(data), ..Secret::default() })
    }
}

/// Writes a file that its owner alone can read, in the place of what an earlier start of the pod left.
fn hand_over(file: &Path, key: &[u8]) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o400).open(file)?.write_all(key)
}
