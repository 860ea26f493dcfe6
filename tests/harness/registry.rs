//! Debian's docker-registry as a process: open or with logins, plain or TLS, its storage in a
//! folder of its own. It keeps its port over a stop and a start. What lies in it: `contents`.

mod contents;
mod requests;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::{Authority, Pair};
use crate::claim::{eventually, program};
use crate::disk::Disk;
use crate::process::Process;

pub use contents::Manifest;
pub use requests::Request;

/// A user of a registry.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// A user of this name whose password is found nowhere else.
    pub fn new(username: &str) -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self { username: username.into(), password: format!("password-{}", hex::encode(bytes)) })
    }
}

/// A registry that runs, or is stopped and can run again.
#[derive(Debug)]
pub struct Registry {
    process: Option<Process>,
    /// What earlier processes of this registry have written.
    former_log: String,
    /// Of its own, below the folder; dropped before it.
    disk: Option<Disk>,
    folder: TempDir,
    address: SocketAddr,
    logins: Vec<Login>,
    tls: Option<Pair>,
    client: reqwest::Client,
}

impl Registry {
    /// Starts an open one over plain HTTP.
    pub async fn open() -> Result<Self> {
        Self::start(Vec::new(), None, None).await
    }

    /// Starts one over plain HTTP that admits these users only.
    pub async fn with_logins(logins: Vec<Login>) -> Result<Self> {
        Self::start(logins, None, None).await
    }

    /// Starts one whose storage is a disk of so many bytes; needs root.
    pub async fn with_disk(bytes: u64, logins: Vec<Login>) -> Result<Self> {
        Self::start(logins, None, Some(bytes)).await
    }

    /// Starts one over TLS with a certificate from `authority`; without users it is open.
    pub async fn with_tls(authority: &Authority, logins: Vec<Login>) -> Result<Self> {
        Self::start(logins, Some(authority), None).await
    }

    async fn start(logins: Vec<Login>, authority: Option<&Authority>, disk: Option<u64>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let disk = disk.map(|bytes| Disk::mount(&folder.path().join("storage"), bytes)).transpose()?;
        let tls = authority.map(|authority| authority.write_pair(folder.path())).transpose()?;
        let roots = authority.map(|authority| reqwest::Certificate::from_pem(authority.pem().as_bytes()));
        let roots = roots.transpose()?;
        let client = reqwest::Client::builder().tls_certs_only(roots).no_proxy().build()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, former_log) = (None, String::new());
        let mut registry = Self { process, former_log, disk, folder, address, logins, tls, client };
        registry.write_logins()?;
        registry.run().await?;
        Ok(registry)
    }

    /// Its host and port, as in a reference.
    pub fn host(&self) -> String {
        match &self.tls {
            Some(_) => format!("localhost:{}", self.address.port()),
            None => self.address.to_string(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How a person names it to Drayage: `http://` in front where it speaks plain HTTP.
    pub fn url(&self) -> String {
        if self.tls.is_some() { self.host() } else { format!("http://{}", self.host()) }
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        let log = self.process.as_ref().map(Process::log).unwrap_or_default();
        format!("{}{log}", self.former_log)
    }

    /// The file in which it keeps a blob.
    pub fn blob_file(&self, digest: &str) -> Result<PathBuf> {
        let (algorithm, hex) = digest.split_once(':').context("a digest")?;
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs");
        Ok(blobs.join(algorithm).join(&hex[..2]).join(hex).join("data"))
    }

    /// Its process's id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("a registry that runs")?.signal(signal)
    }

    /// Stops it; what lies in it stays.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            self.former_log = format!("{}{}\n", self.former_log, process.log());
        }
    }

    /// Runs it again on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        eventually("the registry's port", async || self.run().await).await
    }

    /// Gives its disk another size.
    pub fn resize_disk(&self, bytes: u64) -> Result<()> {
        self.disk.as_ref().context("a disk of its own")?.resize(bytes)
    }

    /// Runs it again with another certificate; only for one that was started with one.
    pub async fn present(&mut self, authority: &Authority, names: &[&str]) -> Result<()> {
        authority.write_pair_for(self.folder.path(), names)?;
        self.restart().await
    }

    /// Runs it at another address of this machine, where others than this machine can reach it.
    pub async fn moved_to(mut self, address: IpAddr) -> Result<Self> {
        self.address = SocketAddr::new(address, 0);
        self.restart().await?;
        Ok(self)
    }

    /// Admits these users from now on and no others; only for one that was started with users.
    pub fn admit(&mut self, logins: Vec<Login>) -> Result<()> {
        self.logins = logins;
        self.write_logins()
    }

    async fn run(&mut self) -> Result<()> {
        let registry = program("docker-registry", "apt-get install docker-registry")?;
        let config = self.folder.path().join("config.yml");
        fs::write(&config, self.config())?;
        let mut command = Command::new(registry);
        command.arg("serve").arg(&config);
        let mut process = Process::start(command)?;
        let address = process.line("`listening`", |line| {
            let (_, rest) = line.split_once("listening on ")?;
            // With TLS a comma follows the address.
            rest.split(['"', ',']).next()?.parse().ok()
        });
        self.address = address.await?;
        self.process = Some(process);
        Ok(())
    }

    fn config(&self) -> String {
        let folder = self.folder.path().display();
        let tls = self.tls.as_ref().map_or(String::new(), |pair| {
            let (chain, key) = (pair.chain.display(), pair.key.display());
            format!("  tls:\n    certificate: {chain}\n    key: {key}\n")
        });
        // Only the lines of level debug name the user of a request that succeeds.
        let (level, logins) = match self.logins.is_empty() {
            true => ("info", String::new()),
            false => ("debug", format!("auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n")),
        };
        format!(
            "version: 0.1\n\
             log:\n  level: {level}\n\
             storage:\n  filesystem:\n    rootdirectory: {folder}/storage\n  delete:\n    enabled: true\n\
             validation:\n  manifests:\n    urls:\n      allow: ['.*']\n\
             http:\n  addr: {address}\n  secret: of-one-test\n{tls}{logins}",
            address = self.address,
        )
    }

    fn write_logins(&self) -> Result<()> {
        // The weakest cost that the registry accepts: it hashes the password at every request.
        let lines = self.logins.iter().map(|login| {
            let hash = bcrypt::hash_with_result(&login.password, 4)?;
            Ok(format!("{}:{}\n", login.username, hash.format_for_version(bcrypt::Version::TwoY)))
        });
        let lines: String = lines.collect::<Result<_, bcrypt::BcryptError>>()?;
        // Renamed into place, so that no request finds the file half written.
        let (written, path) = (self.folder.path().join("written"), self.folder.path().join("htpasswd"));
        fs::write(&written, lines)?;
        fs::rename(written, path).context("replacing the users")
    }
}
