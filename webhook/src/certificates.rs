//! Keeps the certificates of an installation: an authority and a leaf in two Secrets, `caBundle`, and the
//! server's certificate equal to them. `run` starts it where `--kubernetes` is on and no certificate is
//! given. What is to be done is decided in `decision`; here it is carried out, again whenever one changes.

mod decision;
mod material;
mod secrets;
mod watching;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use cluster::{Cluster, ClusterError};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use runtime::Shutdown;
use runtime::admin::Condition;
use runtime::tls::{Certificate, PairError};
use tracing::{info, warn};

pub use self::decision::Lives;
pub(crate) use self::material::expiry_of;

use self::decision::Next;
use self::material::{Authorities, Authority, IssueError, Leaf};
use self::secrets::{AUTHORITIES, AUTHORITY, LEAF, Place};
use self::watching::Watches;
use crate::chain;
use crate::registration::{Registered, Registration};

/// The Services that the leaf serves: the webhook's, and that of the api, which mounts it.
const SERVICES: [&str; 2] = ["drayage-webhook", "drayage-api"];
/// Between two rounds at least, and at most: so soon is healed what no watch has told.
const PAUSE: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_secs(30);
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);
const ROUND_WITHIN: Duration = Duration::from_secs(15);

/// The authorities of the installation in PEM, none until they are known; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Trusted(Arc<ArcSwap<Vec<u8>>>);

impl Trusted {
    /// As they are now.
    pub fn pem(&self) -> Arc<Vec<u8>> {
        self.0.load_full()
    }
}

/// What a round comes to nothing for.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("the certificate cannot be served")]
    Pair(#[from] PairError),
    #[error("the API server did not answer within {} s", ROUND_WITHIN.as_secs())]
    Slow,
}

/// Keeps the certificates of one installation, as one of its replicas.
pub struct Keeper {
    cluster: Cluster,
    secrets: Api<Secret>,
    registration: Registration,
    lives: Lives,
    names: Vec<String>,
    certificate: Certificate,
    trusted: Trusted,
    condition: Condition,
    /// The issuing authority, and since when it has been seen in `caBundle`.
    since: Option<(Authority, SystemTime)>,
    served: Option<String>,
    /// Once it was ready, what is missing is a note: the certificate in force goes on serving.
    was_ready: bool,
    told: Option<String>,
}

impl Keeper {
    /// A keeper that has not begun; `certificate` is what the server shows.
    pub fn new(cluster: Cluster, lives: Lives, certificate: Certificate, condition: Condition) -> Self {
        let names = SERVICES.iter().flat_map(|service| {
            let name = format!("{service}.{}", cluster.namespace);
            [format!("{name}.svc"), format!("{name}.svc.cluster.local"), name]
        });
        Self {
            names: names.collect(),
            secrets: Place::api(&cluster),
            registration: Registration::of(&cluster),
            cluster,
            lives,
            certificate,
            trusted: Trusted::default(),
            condition,
            since: None,
            served: None,
            was_ready: false,
            told: None,
        }
    }

    /// The authorities that it keeps.
    pub fn trusted(&self) -> Trusted {
        self.trusted.clone()
    }

    /// Keeps them until the shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let watches = Watches::start(&self.cluster, &shutdown);
        let look_every = LOOK_EVERY.min(self.lives.leaf / 20).min(self.lives.settling / 2);
        loop {
            let round = async {
                match tokio::time::timeout(ROUND_WITHIN, self.round(SystemTime::now())).await {
                    Ok(result) => result,
                    Err(_) => Err(KeepError::Slow),
                }
            };
            let result = tokio::select! {
                result = round => result,
                () = shutdown.begun() => return,
            };
            let (least, most) = match &result {
                Err(KeepError::Cluster(ClusterError::Conflict(_))) => (PAUSE, PAUSE),
                Err(_) => (AFTER_A_FAILURE, AFTER_A_FAILURE),
                Ok(_) => (PAUSE, look_every),
            };
            self.tell(result);
            tokio::select! {
                () = async {
                    tokio::time::sleep(least).await;
                    let _changed = tokio::time::timeout(most.saturating_sub(least), watches.changed()).await;
                } => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Does what is to be done now, and gives what is still missing, in words.
    async fn round(&mut self, now: SystemTime) -> Result<Option<String>, KeepError> {
        let registered = self.registration.read().await?;
        let authorities = self.authorities(registered.as_ref(), now).await?;
        let trusted = decision::trusted(&authorities, now, &self.lives);
        let bundle: String = trusted.iter().map(Authority::pem).collect();
        self.trusted.0.store(Arc::new(bundle.clone().into_bytes()));

        let since = self.register(registered.as_ref(), &authorities, &bundle, now).await?;
        let missing = self.leaf(&authorities, since, now).await?;
        let unregistered = || {
            "there is no MutatingWebhookConfiguration drayage with a webhook pods.drayage.dev: apply the manifests".to_owned()
        };
        Ok(missing.or_else(|| registered.is_none().then(unregistered)))
    }

    /// The authorities in force, new ones where they are due.
    async fn authorities(
        &self,
        registered: Option<&Registered>,
        now: SystemTime,
    ) -> Result<Authorities, KeepError> {
        let found = AUTHORITY.read(&self.secrets).await?;
        let stored = found.authorities();
        let because = decision::new_authority(&stored, now, &self.lives);
        let because = match (stored, because) {
            (Ok(stored), None) => return Ok(stored),
            (_, because) => because,
        };
        // Leaves of what was trusted until now are served until they are replaced.
        let mut former = Authority::all_in(found.certificates());
        for authority in Authority::all_in(registered.map_or(&[], |registered| &registered.bundle)) {
            if !former.contains(&authority) {
                former.push(authority);
            }
        }
        let former = decision::still_trusted(&former, now, now, &self.lives);
        let new = Authorities::issue(former, now, self.lives.authority)?;
        let bundle: String = new.certificates.iter().map(Authority::pem).collect();
        let written = [(AUTHORITIES, bundle.as_bytes()), (AUTHORITY.key, new.key.pem())];
        found.write(&self.secrets, written).await?;
        tell_issued(AUTHORITY.name, "a new authority", because);
        Ok(new)
    }

    /// Has `caBundle` hold the authorities, and gives since when it was seen to; `None` is not at all.
    async fn register(
        &mut self,
        registered: Option<&Registered>,
        authorities: &Authorities,
        bundle: &str,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, KeepError> {
        // Nobody calls whom nobody has registered, so that nobody has to hear of the authority first.
        let Some(registered) = registered else { return Ok(Some(SystemTime::UNIX_EPOCH)) };
        if registered.bundle != bundle.as_bytes() {
            self.registration.trust(registered, bundle.as_bytes()).await?;
            info!("wrote caBundle of the webhook configuration");
        }
        let newest = authorities.newest();
        if self.since.as_ref().map(|(authority, _)| authority) != newest {
            self.since = newest.map(|newest| (newest.clone(), now));
        }
        Ok(self.since.as_ref().map(|(_, since)| *since))
    }

    /// Serves the leaf, a new one where it is due, and gives what is missing.
    async fn leaf(
        &mut self,
        authorities: &Authorities,
        since: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Option<String>, KeepError> {
        let found = LEAF.read(&self.secrets).await?;
        let stored = found.leaf();
        match decision::next_leaf(&stored, authorities, &self.names, since, now, &self.lives) {
            Next::Issue(because) => {
                let leaf = authorities.leaf(&self.names, now, self.lives.leaf)?;
                let authorities = self.trusted.pem();
                let pair = [(LEAF.certificate, leaf.chain.as_bytes()), (LEAF.key, leaf.key.pem())];
                found.write(&self.secrets, [pair[0], pair[1], (AUTHORITIES, &authorities)]).await?;
                tell_issued(LEAF.name, "a new certificate", Some(because));
                self.serve(&leaf)?;
            }
            Next::Serve => {
                if let Ok(leaf) = &stored {
                    self.serve(leaf)?;
                }
            }
            Next::Await(because) => {
                return Ok(Some(format!("{} {because}, and the authority is not trusted yet", LEAF.name)));
            }
        }
        Ok(None)
    }

    fn serve(&mut self, leaf: &Leaf) -> Result<(), PairError> {
        if self.served.as_ref() != Some(&leaf.chain) {
            self.certificate.replace(leaf.chain.as_bytes(), leaf.key.pem())?;
            info!("took up a certificate");
            self.served = Some(leaf.chain.clone());
        }
        Ok(())
    }

    fn tell(&mut self, result: Result<Option<String>, KeepError>) {
        let problem = match result {
            Ok(missing) => missing,
            // The next round finds what the other replica has done.
            Err(KeepError::Cluster(ClusterError::Conflict(_))) => return,
            Err(error) => Some(chain(&error)),
        };
        match &problem {
            None => self.condition.ready(),
            Some(problem) if self.was_ready => self.condition.ready_with(problem),
            Some(problem) => self.condition.unready(problem),
        }
        self.was_ready |= problem.is_none();
        if self.told != problem {
            if let Some(problem) = &problem {
                warn!("the certificates are not as they should be: {problem}");
            }
            self.told = problem;
        }
    }
}

/// What is not routine is told loudly.
fn tell_issued(secret: &str, what: &str, because: Option<decision::Because>) {
    match because {
        Some(because) if !because.is_planned() => warn!("{secret} {because}; it holds {what} now"),
        Some(because) => info!("{secret} {because}; it holds {what} now"),
        None => {}
    }
}
