//! Drayage between two registries with a proxy in front of either, everything at trace level. What
//! lies at the destination belongs to how a push ended (`outcome`), and a claim is only proven when no
//! credential was told anywhere (`secrets`).

mod outcome;
mod secrets;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Proxy, lock};
use crate::certificates::Authority;
use crate::claim::{eventually, prove};
use crate::image::Image;
use crate::registry::{Login, Registry};
use crate::scene::PATH;
use crate::services::{Algorithm, Drayage};

pub use outcome::Outcome;

/// What a stage is to be like.
#[derive(Debug)]
pub struct Setup<'a> {
    /// `--max-tries` of the syncer.
    pub tries: u32,
    /// More flags of the syncer.
    pub syncer: &'a [&'a str],
    /// The enterprise's registry asks for no login: somebody else in front of it does.
    pub open: bool,
    /// Trusted beside the system's authorities.
    pub trusted: Option<&'a Authority>,
    /// The enterprise's registry has a disk of its own, of so many bytes.
    pub disk: Option<u64>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { tries: 3, syncer: &[], open: false, trusted: None, disk: None }
    }
}

/// A stage that is set.
#[derive(Debug)]
pub struct Stage {
    /// The platform's registry, as it is.
    pub source: Registry,
    /// What Drayage pulls through.
    pub from: Proxy,
    /// The enterprise's registry, as it is; it admits `reader` and `pusher` only.
    pub enterprise: Registry,
    /// What Drayage pushes and reads back through.
    pub to: Proxy,
    /// The login that Drayage stores with the registry.
    pub reader: Login,
    /// The login that is given with every push.
    pub pusher: Login,
    /// The programs.
    pub drayage: Drayage,
    /// The enterprise's registry as Drayage calls it.
    pub registry: String,
    /// An algorithm.
    pub algorithm: Algorithm,
    secrets: Mutex<Vec<String>>,
    builds: AtomicUsize,
}

/// An image in the source registry that was compiled, and was not asked to be pushed.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its version hash, under which it is pushed.
    pub hash: String,
    /// The image.
    pub image: Image,
}

/// Proves a claim on a stage: in the end, no credential was told anywhere.
pub fn on_stage(setup: Setup<'_>, claim: impl AsyncFnOnce(&mut Stage) -> Result<()>) {
    prove(async {
        let mut stage = Stage::set(setup).await?;
        claim(&mut stage).await.with_context(|| stage.transcript())?;
        stage.keeps_its_secrets().await
    });
}

impl Stage {
    async fn set(setup: Setup<'_>) -> Result<Self> {
        let (reader, pusher, puller) = (Login::new("reader")?, Login::new("pusher")?, Login::new("puller")?);
        let logins = if setup.open { Vec::new() } else { vec![reader.clone(), pusher.clone()] };
        let enterprise = async {
            match setup.disk {
                Some(bytes) => Registry::with_disk(bytes, logins).await,
                None => Registry::with_logins(logins).await,
            }
        };
        let source = Registry::with_logins(vec![puller.clone()]);
        let (source, enterprise) = tokio::try_join!(source, enterprise)?;
        let (from, to) = (Proxy::to(source.address()).await?, Proxy::to(enterprise.address()).await?);
        let tries = setup.tries.to_string();
        let loud = ["--log", "trace"];
        let mut drayage = Drayage::at(from.url()).login_at(&from.host(), &puller).api(&loud).webhook(&loud);
        drayage = drayage.syncer(&loud).syncer(&["--max-tries", &tries]).syncer(setup.syncer);
        if let Some(authority) = setup.trusted {
            drayage = drayage.trusted(authority);
        }
        let drayage = drayage.start().await?;
        let registry = drayage.register(&format!("{}/{PATH}", to.url()), Some(&reader)).await?;
        let algorithm = drayage.algorithm("ada", "primes").await?;
        let logins = [&reader, &pusher, &puller].into_iter().flat_map(secrets::spellings);
        let keys = [drayage.admin_key.clone(), algorithm.key.clone()];
        let secrets = Mutex::new(logins.chain(keys).collect());
        let builds = AtomicUsize::new(0);
        let stage = Self {
            source,
            from,
            enterprise,
            to,
            reader,
            pusher,
            drayage,
            registry,
            algorithm,
            secrets,
            builds,
        };
        // So that no request of a claim is one from which we learn how to log in.
        stage.push(&stage.build(Image::builder().finish()?).await?).await?.succeeded_after(1)?;
        stage.from.forget();
        stage.to.forget();
        Ok(stage)
    }

    /// Counts a text as a credential: it must be told nowhere.
    pub fn secret(&self, text: &str) {
        lock(&self.secrets).push(text.to_owned());
    }

    /// Where the algorithm's images lie in the enterprise's registry.
    pub fn repository(&self) -> String {
        format!("{PATH}/{}", self.algorithm.repository())
    }

    /// A tag that no build has had.
    pub fn tag(&self) -> String {
        format!("build-{}", self.builds.fetch_add(1, Ordering::SeqCst))
    }

    /// Puts an image into the source registry and compiles it.
    pub async fn build(&self, image: Image) -> Result<Built> {
        let tag = self.tag();
        self.source.push(&image, &self.algorithm.repository(), &tag).await?;
        self.compile(&tag, image).await
    }

    /// Compiles what the source registry shows under a tag.
    pub async fn compile(&self, tag: &str, image: Image) -> Result<Built> {
        let hash = self.drayage.compile(&self.algorithm, &json!({"commitSha": tag})).await?;
        Ok(Built { hash, image })
    }

    /// Asks for a push with the pusher's login.
    pub async fn ask(&self, built: &Built) -> Result<()> {
        self.ask_for(built, &self.registry, &self.pusher).await
    }

    /// Asks for a push to a registry with a login.
    pub async fn ask_for(&self, built: &Built, registry: &str, login: &Login) -> Result<()> {
        let body = json!({
            "registry_id": registry,
            "registry_username": login.username,
            "registry_password": login.password,
        });
        let path = self.algorithm.path(&format!("/versions/{}/registry", built.hash));
        self.drayage.call(Method::POST, &path, &self.algorithm.key, Some(&body)).await?.expect(204)?;
        Ok(())
    }

    /// The status of a push.
    pub async fn status(&self, built: &Built) -> Result<Value> {
        self.drayage.status(&self.algorithm, &built.hash, &self.registry).await
    }

    /// Waits until a push waits for this reason, and gives its status.
    pub async fn waits(&self, built: &Built, reason: &str) -> Result<Value> {
        let waiting = eventually("a push to wait", async || {
            let status = self.status(built).await?;
            ensure!(status["status"] != "succeeded" && status["status"] != "failed", "it is over: {status}");
            ensure!(status["status"] == "pending" && status["reason"] == reason, "{status}");
            Ok(status)
        });
        waiting.await
    }

    /// Waits until a push is over; if it has succeeded, the destination must hold the image byte for byte.
    pub async fn over(&self, built: &Built) -> Result<Outcome> {
        let status = eventually("a push to be over", async || {
            let status = self.status(built).await?;
            match status["status"].as_str() {
                Some("succeeded" | "failed") => Ok(status),
                _ => bail!("{status}"),
            }
        });
        let status = status.await?;
        if status["status"] == "succeeded" {
            self.enterprise.holds(&built.image, &self.repository(), &built.hash).await?;
        }
        let tagged = self.enterprise.manifest(&self.repository(), &built.hash).await?;
        Ok(Outcome::new(status, tagged.map(|manifest| manifest.digest)))
    }

    /// Asks for a push and waits until it is over.
    pub async fn push(&self, built: &Built) -> Result<Outcome> {
        self.ask(built).await?;
        self.over(built).await
    }

    /// What a reader of a failed claim wants to see.
    fn transcript(&self) -> String {
        let telling =
            |line: &&str| !line.contains(r#""level":"TRACE""#) && !line.contains(r#""level":"DEBUG""#);
        let log = self.drayage.syncer.log();
        let log = log.lines().filter(telling).collect::<Vec<_>>().join("\n");
        format!(
            "from the source:\n{}to the destination:\n{}{log}",
            self.from.transcript(),
            self.to.transcript()
        )
    }

    fn known_secrets(&self) -> Vec<String> {
        lock(&self.secrets).clone()
    }
}
