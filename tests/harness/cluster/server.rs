//! Starts etcd and kube-apiserver for a cluster, with the files that they read: a serving
//! certificate, the key of service accounts, tokens of users, an audit policy.

use std::fmt::Display;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::find;
use crate::certificates::Authority;
use crate::process::Process;

/// The first address of the Services, which is the API server's own.
const OWN_SERVICE: &str = "10.0.0.1";
const SERVICES: &str = "10.0.0.0/24";
/// How often another free port is tried when somebody was faster.
const TRIES: usize = 5;
/// Who may log in, each with its name as token: the administrator and the parts of the cluster.
const USERS: &str = "admin,admin,admin,system:masters\n\
                     scheduler,system:kube-scheduler,scheduler\n\
                     controllers,system:kube-controller-manager,controllers\n\
                     proxy,system:kube-proxy,proxy\n\
                     node,system:node:node,node,system:nodes\n\
                     other,system:node:other,other,system:nodes\n";

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts etcd and gives the URL where it serves.
pub(super) async fn start_etcd(folder: &Path) -> Result<(Process, String)> {
    let etcd = find("etcd", "apt-get install etcd-server")?;
    for _ in 0..TRIES {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&etcd);
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

/// What the server and its clients read.
pub(super) fn write_files(folder: &Path, address: &str) -> Result<()> {
    let authority = Authority::new()?;
    authority.write_pair_for(folder, &["localhost", "127.0.0.1", OWN_SERVICE, address])?;
    fs::write(folder.join("authority.pem"), authority.pem())?;
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("accounts.key"), key.serialize_pem())?;
    fs::write(folder.join("accounts.pub"), key.public_key_pem())?;
    fs::write(folder.join("tokens.csv"), USERS)?;
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - level: Metadata\n  resources:\n  - group: ''\n    resources: [pods, pods/*]\n  verbs: [create, update, patch]\n\
                  - level: None\n";
    fs::write(folder.join("audit.yaml"), policy)?;
    Ok(())
}

/// What kube-apiserver is started with, each time.
#[derive(Debug)]
pub(super) struct Flags {
    etcd: String,
    port: u16,
    node: Option<String>,
}

impl Flags {
    /// With the address of a node it serves there as well, and gives each pod a service account, which
    /// takes a controller-manager.
    pub(super) fn new(etcd: String, node: Option<&str>) -> Result<Self> {
        Ok(Self { etcd, port: free_port()?, node: node.map(str::to_owned) })
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Starts it.
    pub(super) fn start(&self, folder: &Path) -> Result<Process> {
        let mut command = Command::new(find("kube-apiserver", "make test builds it with Go 1.24 or newer")?);
        let mut flag = |name: &str, value: &dyn Display| {
            command.arg(format!("--{name}={value}"));
        };
        let file = |name: &str| folder.join(name).display().to_string();
        flag("etcd-servers", &self.etcd);
        flag("tls-cert-file", &file("tls.crt"));
        flag("tls-private-key-file", &file("tls.key"));
        flag("secure-port", &self.port);
        flag("service-account-issuer", &"https://kubernetes.default.svc");
        flag("service-account-key-file", &file("accounts.pub"));
        flag("service-account-signing-key-file", &file("accounts.key"));
        flag("token-auth-file", &file("tokens.csv"));
        flag("service-cluster-ip-range", &SERVICES);
        flag("feature-gates", &"ImageVolume=true");
        flag("audit-policy-file", &file("audit.yaml"));
        flag("audit-log-path", &file("audit.log"));
        match &self.node {
            Some(address) => {
                flag("bind-address", &"0.0.0.0");
                flag("advertise-address", &address);
                flag("authorization-mode", &"Node,RBAC");
                flag("allow-privileged", &true);
                // A node's name is in no DNS.
                flag("kubelet-preferred-address-types", &"InternalIP");
            }
            None => {
                flag("bind-address", &"127.0.0.1");
                flag("authorization-mode", &"RBAC");
                flag("disable-admission-plugins", &"ServiceAccount");
            }
        }
        Process::start(command)
    }
}

/// The kubeconfig of one of `USERS`, beside the files of the server.
pub(super) fn kubeconfig(url: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{url}', certificate-authority: authority.pem}}}}]\n\
         users: [{{name: user, user: {{token: {user}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: user}}}}]\n"
    )
}
