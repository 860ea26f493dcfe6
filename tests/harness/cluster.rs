//! A Kubernetes control plane without nodes: etcd and kube-apiserver as processes, and kubectl.
//! Enough for admission: what a test looks at is the pod that the server stored. `crate::node`
//! adds what runs pods.

mod calls;
mod cert_manager;
mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tempfile::TempDir;

use crate::claim::{Missing, cache, eventually, program};
use crate::process::{self, Process};

pub use calls::Administrator;

/// The version that `scripts/prepare` builds, and the folder of the cache where it puts it.
const BUILT: &str = "kubernetes-v1.34.4";
/// The label by which a namespace takes part.
const TAKES_PART: &str = "drayage.dev/runners=enabled";

/// A control plane that runs.
#[derive(Debug)]
pub struct Cluster {
    server: Process,
    /// What the server is started with.
    flags: server::Flags,
    _etcd: Process,
    folder: TempDir,
    url: String,
    kubectl: PathBuf,
}

impl Cluster {
    /// Starts etcd and kube-apiserver and waits until the server is ready.
    pub async fn start() -> Result<Self> {
        Self::start_for(None).await
    }

    /// Starts one that a node at this address can join.
    pub(crate) async fn start_for(node: Option<&str>) -> Result<Self> {
        let kubectl = find("kubectl", "make test builds it with Go 1.24 or newer")?;
        let folder = tempfile::tempdir()?;
        server::write_files(folder.path(), node.unwrap_or("127.0.0.1"))?;
        let (etcd, etcd_url) = server::start_etcd(folder.path()).await?;
        let flags = server::Flags::new(etcd_url, node)?;
        let (server, url) = (flags.start(folder.path())?, flags.url());
        let mut cluster = Self { server, flags, _etcd: etcd, folder, url, kubectl };
        cluster.kubeconfig_of("admin")?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Ends the API server as a crash would, and leaves it ended.
    pub fn stop_server(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts the API server again, where it was.
    pub async fn restart_server(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server = self.flags.start(self.folder.path())?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        self.server.line("it serves", |line| line.contains("Serving securely").then_some(())).await?;
        eventually("the API server", async || {
            self.kubectl(&["get", "--raw", "/readyz"]).await?;
            // Made by the server itself a moment after it is ready; pods need it.
            self.kubectl(&["get", "namespace", "default"]).await
        })
        .await
        .with_context(|| self.server.log())?;
        Ok(())
    }

    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.file("admin.kubeconfig")
    }

    /// Writes the kubeconfig of one of the users that the server knows.
    pub(crate) fn kubeconfig_of(&self, user: &str) -> Result<PathBuf> {
        let path = self.file(&format!("{user}.kubeconfig"));
        fs::write(&path, server::kubeconfig(&self.url, user))?;
        Ok(path)
    }

    /// A file of the server's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The kubectl that speaks to it.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// Runs kubectl and gives its standard output; an error holds what it complained about.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        process::output(self.command(arguments)).await
    }

    /// Runs kubectl with `-o json` and gives what it printed.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat()).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes an object from its JSON, whatever admission does to it, and gives what is stored.
    pub async fn create(&self, object: &Value) -> Result<Value> {
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path())?;
        file.write_all(object.to_string().as_bytes())?;
        let path = file.path().to_str().context("a path in UTF-8")?;
        self.get(&["create", "-f", path]).await
    }

    /// Makes a namespace that takes part in the routing.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.kubectl(&["create", "namespace", name]).await?;
        self.kubectl(&["label", "namespace", name, TAKES_PART]).await?;
        Ok(())
    }

    /// Registers the webhook as the manifests do, but at a URL of this machine.
    pub async fn register_webhook(&self, url: &str, authority: &str) -> Result<()> {
        let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
        let objects = self.kubectl(&["create", "--dry-run=client", "-o", "json", "-k", manifests]).await?;
        let objects: Vec<Value> =
            serde_json::Deserializer::from_str(&objects).into_iter().collect::<Result<_, _>>()?;
        let mut objects = objects.into_iter();
        let registration = objects.find(|object| object["kind"] == "MutatingWebhookConfiguration");
        let mut registration = registration.context("a webhook configuration in the manifests")?;
        let client = serde_json::json!({"url": url, "caBundle": BASE64.encode(authority)});
        for webhook in registration["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"] = client.clone();
        }
        self.create(&registration).await?;
        Ok(())
    }

    /// Everything that the API server has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// What the API server's audit log says, an event a line.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let log = fs::read_to_string(self.file("audit.log"))?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // Its discovery cache would otherwise lie in the home of whoever runs the tests.
        command.env("KUBECACHEDIR", self.file("cache"));
        command
    }
}

/// Finds a program as users of envtest expect, then in our cache, then on PATH.
pub(crate) fn find(name: &str, hint: &str) -> Result<PathBuf, Missing> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let mut places = [assets, Some(cache(BUILT))].into_iter().flatten().map(|folder| folder.join(name));
    places.find(|path| path.is_file()).map_or_else(|| program(name, hint), Ok)
}
