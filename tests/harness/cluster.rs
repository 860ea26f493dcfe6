//! A Kubernetes control plane without nodes: etcd and kube-apiserver as processes, and kubectl.
//! Enough for admission: what a test looks at is the pod that the server stored.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tempfile::TempDir;

use crate::claim::{Missing, cache, eventually, program};
use crate::process::{self, Process};

/// The version that `scripts/prepare` builds, and the folder of the cache where it puts it.
const BUILT: &str = "kubernetes-v1.34.4";
/// The label by which a namespace takes part.
const TAKES_PART: &str = "drayage.dev/runners=enabled";
/// How often another free port is tried when somebody was faster.
const TRIES: usize = 5;

/// A control plane that runs.
#[derive(Debug)]
pub struct Cluster {
    server: Process,
    _etcd: Process,
    folder: TempDir,
    kubectl: PathBuf,
}

impl Cluster {
    /// Starts etcd and kube-apiserver and waits until the server is ready.
    pub async fn start() -> Result<Self> {
        let etcd = find("etcd", "apt-get install etcd-server")?;
        let server = find("kube-apiserver", "make test builds it with Go 1.24 or newer")?;
        let kubectl = find("kubectl", "make test builds it with Go 1.24 or newer")?;
        let folder = tempfile::tempdir()?;
        let (etcd, etcd_url) = start_etcd(&etcd, folder.path()).await?;
        write_keys(folder.path())?;
        let (server, url) = start_server(&server, folder.path(), &etcd_url)?;
        fs::write(folder.path().join("kubeconfig"), kubeconfig(&url))?;
        let mut cluster = Self { server, _etcd: etcd, folder, kubectl };
        cluster.ready().await?;
        Ok(cluster)
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
        self.folder.path().join("kubeconfig")
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

    /// What the API server's audit log says, an event a line.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let log = fs::read_to_string(self.folder.path().join("audit.log"))?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // Its discovery cache would otherwise lie in the home of whoever runs the tests.
        command.env("KUBECACHEDIR", self.folder.path().join("cache"));
        command
    }
}

/// Finds a program as users of envtest expect, then in our cache, then on PATH.
fn find(name: &str, hint: &str) -> Result<PathBuf, Missing> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let mut places = [assets, Some(cache(BUILT))].into_iter().flatten().map(|folder| folder.join(name));
    places.find(|path| path.is_file()).map_or_else(|| program(name, hint), Ok)
}

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn start_etcd(etcd: &Path, folder: &Path) -> Result<(Process, String)> {
    for _ in 0..TRIES {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let mut command = Command::new(etcd);
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        command.args(["--unsafe-no-fsync", "--logger", "zap", "--log-level", "info"]);
        let mut process = Process::start(command)?;
        let serves = process.line("it serves", |line| line.contains("serving client").then_some(()));
        if serves.await.is_ok() {
            return Ok((process, url));
        }
        fs::remove_dir_all(folder.join("etcd")).ok();
    }
    bail!("etcd found no free port")
}

/// The key that signs tokens of service accounts, and the administrator's own token.
fn write_keys(folder: &Path) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("accounts.key"), key.serialize_pem())?;
    fs::write(folder.join("accounts.pub"), key.public_key_pem())?;
    fs::write(folder.join("tokens.csv"), "token,admin,admin,system:masters\n")?;
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - level: Metadata\n  resources:\n  - group: ''\n    resources: [pods, pods/*]\n  verbs: [create, update, patch]\n\
                  - level: None\n";
    fs::write(folder.join("audit.yaml"), policy)?;
    Ok(())
}

fn start_server(server: &Path, folder: &Path, etcd: &str) -> Result<(Process, String)> {
    let port = free_port()?;
    let mut command = Command::new(server);
    let mut flag = |name: &str, value: &dyn std::fmt::Display| {
        command.arg(format!("--{name}={value}"));
    };
    let file = |name: &str| folder.join(name).display().to_string();
    flag("etcd-servers", &etcd);
    flag("cert-dir", &file("certificates"));
    flag("bind-address", &"127.0.0.1");
    flag("secure-port", &port);
    flag("service-account-issuer", &"https://kubernetes.default.svc");
    flag("service-account-key-file", &file("accounts.pub"));
    flag("service-account-signing-key-file", &file("accounts.key"));
    flag("authorization-mode", &"RBAC");
    flag("token-auth-file", &file("tokens.csv"));
    flag("service-cluster-ip-range", &"10.0.0.0/24");
    flag("disable-admission-plugins", &"ServiceAccount");
    flag("feature-gates", &"ImageVolume=true");
    flag("audit-policy-file", &file("audit.yaml"));
    flag("audit-log-path", &file("audit.log"));
    Ok((Process::start(command)?, format!("https://127.0.0.1:{port}")))
}

fn kubeconfig(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{url}', \
         certificate-authority: certificates/apiserver.crt}}}}]\n\
         users: [{{name: admin, user: {{token: token}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n"
    )
}
