//! A whole Drayage over one folder: api, syncer and webhook as processes with the flags of their
//! documentation. `calls` speaks to the API as a person with curl would, `review` as the API
//! server does to the webhook.

mod calls;
mod review;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::claim::eventually;
use crate::process::{Process, binary};
use crate::registry::{Login, Registry};

pub use calls::{Algorithm, Answer};
pub use review::{Review, creation_of};

/// One of the programs: its flags stay, its process may be ended and started again.
#[derive(Debug)]
pub struct Service {
    program: &'static str,
    /// The role of its public listener, if it has one.
    role: Option<&'static str>,
    flags: Vec<String>,
    process: Process,
    address: Option<SocketAddr>,
    admin: SocketAddr,
    former_log: String,
}

impl Service {
    async fn start(program: &'static str, role: Option<&'static str>, flags: Vec<String>) -> Result<Self> {
        let mut process = spawn(program, &flags)?;
        let admin = process.listening("admin").await?;
        let address = match role {
            Some(role) => Some(process.listening(role).await?),
            None => None,
        };
        Ok(Self { program, role, flags, process, address, admin, former_log: String::new() })
    }

    /// Ends it as a crash would, and leaves it ended.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to stop and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate().await
    }

    /// Starts it with the same flags, on other ports, in the place of the former process.
    pub async fn restart(&mut self) -> Result<()> {
        let former_log = self.log();
        self.process.kill()?;
        *self = Self::start(self.program, self.role, self.flags.clone()).await?;
        self.former_log = former_log;
        Ok(())
    }

    /// Starts it again where it listened.
    pub async fn restart_there(&mut self) -> Result<()> {
        let address = self.address.context("a public listener")?.to_string();
        let flag = self.flags.iter().position(|flag| flag == "--listen").context("where it listens")?;
        self.flags[flag + 1] = address;
        self.restart().await
    }

    /// Everything it has logged, earlier processes included.
    pub fn log(&self) -> String {
        format!("{}{}\n", self.former_log, self.process.log())
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Starts another process with the same flags beside it, on other ports.
    pub async fn beside(&self) -> Result<Self> {
        Self::start(self.program, self.role, self.flags.clone()).await
    }

    /// How a person would start it.
    pub fn command_line(&self) -> String {
        format!("{} {}", self.program, self.flags.join(" "))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The port of its public listener.
    pub fn port(&self) -> Result<u16> {
        Ok(self.address.context("a public listener")?.port())
    }

    /// Where its admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Gets a page of its admin listener: the status and the text.
    pub async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        eventually(&format!("{} to be ready", self.program), async || {
            let (status, text) = self.admin("/readyz").await?;
            ensure!(status == 200, "{text}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }
}

fn spawn(program: &str, flags: &[String]) -> Result<Process> {
    let mut command = Command::new(binary(program)?);
    command.args(flags).args(["--log-format", "json"]);
    // Neither the variables nor the proxy of whoever runs the tests configure what is tested.
    command.env_clear().env("RUST_BACKTRACE", "1");
    Process::start(command)
}

/// What a Drayage is to be started with.
#[derive(Debug, Default)]
pub struct Builder {
    source_flags: Vec<String>,
    docker_config: Option<String>,
    trusted: Option<String>,
    api: Vec<String>,
    syncer: Vec<String>,
    webhook: Vec<String>,
}

impl Builder {
    /// Logs in to the source registry as this user.
    pub fn source_login(self, source: &Registry, login: &Login) -> Self {
        self.login_at(&source.host(), login)
    }

    /// Logs in to the source registry at this host as this user.
    pub fn login_at(mut self, host: &str, login: &Login) -> Self {
        let Login { username, password } = login;
        let entry = serde_json::json!({"username": username, "password": password});
        self.docker_config = Some(serde_json::json!({"auths": {host: entry}}).to_string());
        self
    }

    /// Trusts the certificates of this authority.
    pub fn trusted(mut self, authority: &Authority) -> Self {
        self.trusted = Some(authority.pem().to_owned());
        self
    }

    /// Adds flags of the api.
    pub fn api(mut self, flags: &[&str]) -> Self {
        self.api.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Adds flags of the syncer.
    pub fn syncer(mut self, flags: &[&str]) -> Self {
        self.syncer.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Adds flags of the webhook.
    pub fn webhook(mut self, flags: &[&str]) -> Self {
        self.webhook.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Starts the three programs and waits until all are ready.
    pub async fn start(mut self) -> Result<Drayage> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        if let Some(config) = &self.docker_config {
            fs::write(file("config.json"), config)?;
            self.source_flags.extend(["--registry-auth-file".into(), file("config.json")]);
        }
        if let Some(pem) = &self.trusted {
            fs::write(file("authorities.pem"), pem)?;
            self.source_flags.extend(["--trusted-ca-file".into(), file("authorities.pem")]);
        }
        let authority = Authority::new()?;
        authority.write_pair(folder.path())?;
        let database = format!("sqlite:{}", file("drayage.db"));
        let common =
            |admin: &str| ["--admin-listen", admin, "--database", &database].map(str::to_owned).to_vec();
        let any = "127.0.0.1:0";
        let seal = vec!["--seal-key-file".to_owned(), file("seal.key")];
        let admin_key = vec!["--admin-key-file".to_owned(), file("admin.key")];
        let listen = vec!["--listen".to_owned(), any.to_owned()];
        let tls = vec!["--tls-cert".into(), file("tls.crt"), "--tls-key".into(), file("tls.key")];
        let api = [common(any), listen.clone(), seal.clone(), admin_key, self.source_flags.clone(), self.api];
        let syncer = [common(any), seal, self.source_flags, self.syncer];
        let webhook = [common(any), listen, tls, self.webhook];
        let (api, syncer, webhook) = tokio::try_join!(
            Service::start("drayage-api", Some("api"), api.concat()),
            Service::start("drayage-syncer", None, syncer.concat()),
            Service::start("drayage-webhook", Some("webhook"), webhook.concat()),
        )?;
        tokio::try_join!(api.ready(), syncer.ready(), webhook.ready())?;
        let admin_key = fs::read_to_string(folder.path().join("admin.key"))?.trim().to_owned();
        let root = reqwest::Certificate::from_pem(authority.pem().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build()?;
        Ok(Drayage { api, syncer, webhook, authority, admin_key, client, folder })
    }
}

/// A Drayage that runs.
#[derive(Debug)]
pub struct Drayage {
    /// The process that serves `/v1`.
    pub api: Service,
    /// The process that performs pushes.
    pub syncer: Service,
    /// The process that admits pods.
    pub webhook: Service,
    /// Whoever talks to the webhook must trust it.
    pub authority: Authority,
    /// The first admin key.
    pub admin_key: String,
    client: reqwest::Client,
    folder: TempDir,
}

impl Drayage {
    /// One that takes the platform's images from `source`.
    pub fn over(source: &Registry) -> Builder {
        Self::at(source.url())
    }

    /// Another webhook, which follows the api with this key instead of the database.
    pub async fn webhook_apart(&self, key: &str) -> Result<Service> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        fs::write(file("routes.key"), key)?;
        let api = format!("http://{}", self.api.address.context("the api's address")?);
        let (any, chain, pair, key) = ("127.0.0.1:0", file("tls.crt"), file("tls.key"), file("routes.key"));
        let flags = ["--admin-listen", any, "--listen", any, "--tls-cert", &chain, "--tls-key", &pair];
        let from = ["--routes-from", &api, "--routes-key-file", &key];
        let flags = flags.into_iter().chain(from).map(str::to_owned).collect();
        Service::start("drayage-webhook", Some("webhook"), flags).await
    }

    /// Another webhook beside the database, which keeps its certificates in the cluster of a kubeconfig.
    pub async fn webhook_in(&self, kubeconfig: &Path) -> Result<Service> {
        let database = format!("sqlite:{}", self.file("drayage.db").display());
        let kubernetes = format!("kubeconfig:{}", kubeconfig.display());
        let any = "127.0.0.1:0";
        let flags = ["--admin-listen", any, "--listen", any, "--database", &database];
        let flags = flags.into_iter().chain(["--kubernetes", &kubernetes]).map(str::to_owned).collect();
        Service::start("drayage-webhook", Some("webhook"), flags).await
    }

    /// One that takes the platform's images from a registry of this name.
    pub fn at(source_url: String) -> Builder {
        let source_flags = vec!["--source-registry".to_owned(), source_url];
        Builder { source_flags, ..Builder::default() }
    }

    /// Where its database, keys and certificates lie.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The URL of the API, without `/v1`.
    pub fn api_url(&self) -> Result<String> {
        Ok(format!("http://{}", self.api.address.context("the api's address")?))
    }

    /// The URL to which the API server posts.
    pub fn webhook_url(&self) -> Result<String> {
        Ok(format!("https://{}/mutate", self.webhook.address.context("the webhook's address")?))
    }

    /// Everything that the three programs have logged.
    pub fn log(&self) -> String {
        [&self.api, &self.syncer, &self.webhook].map(Service::log).concat()
    }
}
