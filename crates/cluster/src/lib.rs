//! How the cluster is reached: the flag `--kubernetes`, the client that it stands for, and what can go
//! wrong on the way; and how one of several makes an object. The webhook and the syncer speak through it; nothing
//! is found by guessing. What is asked of the API server is theirs.

mod making;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

pub use making::make;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Which cluster the process belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// None.
    Off,
    /// The one whose pod it runs in, as the pod's ServiceAccount.
    InCluster,
    /// That of a kubeconfig's current context.
    Kubeconfig(PathBuf),
}

impl FromStr for Kubernetes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("kubeconfig:")) {
            ("off", _) => Ok(Self::Off),
            ("in-cluster", _) => Ok(Self::InCluster),
            (_, Some(path)) if !path.is_empty() => Ok(Self::Kubeconfig(path.into())),
            _ => Err("it is off, in-cluster or kubeconfig:PATH"),
        }
    }
}

/// The cluster cannot be spoken to with what the process was given.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The process is in no pod, or its pod has no token.
    #[error("--kubernetes in-cluster: this is no pod with a token of its ServiceAccount")]
    InCluster(#[from] InClusterError),
    /// The kubeconfig cannot be used.
    #[error("--kubernetes kubeconfig:{path}", path = .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// No client can be made of it.
    #[error("--kubernetes: no client can be made of the cluster's configuration")]
    Client(#[from] kube::Error),
}

/// A client of one cluster, and the namespace that the process lives in.
#[derive(Clone)]
pub struct Cluster {
    /// Speaks to its API server.
    pub client: Client,
    /// Where the Secrets of the process are.
    pub namespace: String,
}

impl Kubernetes {
    /// The cluster, unless it is off, for a program with this user agent. Nothing is asked of it yet.
    ///
    /// # Errors
    /// What the process was given does not do.
    pub async fn cluster(&self, agent: &'static str) -> Result<Option<Cluster>, ConnectError> {
        let mut config = match self {
            Self::Off => return Ok(None),
            Self::InCluster => Config::incluster()?,
            Self::Kubeconfig(path) => {
                let failed = |source| ConnectError::Kubeconfig { path: path.clone(), source };
                let file = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?
            }
        };
        config.connect_timeout = Some(CONNECT_WITHIN);
        config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        let namespace = config.default_namespace.clone();
        Ok(Some(Cluster { client: Client::try_from(config)?, namespace }))
    }
}

/// Something that was asked of the API server and not done.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Somebody else has written in the meantime: read again.
    #[error("somebody else has written the {0} in the meantime")]
    Conflict(&'static str),
    /// It was refused.
    #[error("the API server refuses the {what}: {reason}")]
    Refused {
        /// What was read or written.
        what: &'static str,
        /// The API server's words, in part.
        reason: String,
    },
    /// No answer.
    #[error("the API server does not answer")]
    Unreachable(#[source] kube::Error),
}

impl ClusterError {
    /// What an error means for this object.
    pub fn of(what: &'static str) -> impl Fn(kube::Error) -> Self {
        move |error| match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict(what),
            kube::Error::Api(status) => {
                let words = status.message.chars().filter(|letter| !letter.is_control());
                Self::Refused { what, reason: words.take(200).collect() }
            }
            error => Self::Unreachable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_off_the_own_one_or_that_of_a_file() {
        for (text, meant) in [
            ("off", Kubernetes::Off),
            ("in-cluster", Kubernetes::InCluster),
            ("kubeconfig:/a/b", Kubernetes::Kubeconfig("/a/b".into())),
        ] {
            assert_eq!(text.parse(), Ok(meant));
        }
        for text in ["", "on", "kubeconfig", "kubeconfig:"] {
            assert!(text.parse::<Kubernetes>().is_err(), "{text}");
        }
    }
}
