//! A whole Kubernetes of one node: a control plane, what makes pods out of Deployments, and a
//! kubelet over containerd that pulls images and runs containers. It takes root and Linux, and
//! lives inside `prove`: a machine of its own, where paths and addresses are nobody else's.

mod files;
mod injector;
mod installation;
mod machine;
mod second;
mod stage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::claim::{Missing, cache, eventually, program};
use crate::cluster::{Cluster, find};
use crate::image::Image;
use crate::process::Process;
use crate::registry::{Login, Registry};

use machine::{FIRST, Member};

pub use injector::Injector;
pub use installation::Installation;
pub use machine::{crash, prove};
pub use second::Second;
pub use stage::{Stage, of_template, template, workload};

/// The folder of the cache where `scripts/prepare` puts containerd.
const BUILT: &str = "containerd-v2.1.9";

/// A cluster of one node that runs.
#[derive(Debug)]
pub struct Node {
    /// Its control plane.
    pub cluster: Cluster,
    containerd: Process,
    kubelet: Process,
    parts: Vec<Process>,
    /// Holds what the cluster itself runs; nobody else asks it.
    images: Registry,
}

impl Node {
    /// Starts all of it and waits until the node is ready.
    pub async fn start() -> Result<Self> {
        let plugins = network_plugins()?;
        // containerd speaks plain HTTP with loopback, so that what a pod is made of needs no import.
        let (cluster, images) =
            tokio::try_join!(Cluster::start_for(Some(machine::ADDRESS)), Registry::open())?;
        images.push(&Image::builder().program()?.finish()?, "pause", "1").await?;
        FIRST.write(&cluster, &plugins, &pause(&images))?;
        let containerd = containerd(&FIRST, &cluster).await?;
        let kubelet = kubelet(&FIRST, &cluster)?;
        let parts = vec![controllers(&cluster)?, scheduler(&cluster)?, proxy(&cluster)?];
        let node = Self { cluster, containerd, kubelet, parts, images };
        node.is_ready(&FIRST).await.with_context(|| node.log())?;
        Ok(node)
    }

    async fn is_ready(&self, member: &Member) -> Result<()> {
        eventually("the node to be ready", async || {
            let node = self.cluster.get(&["get", "node", member.name]).await?;
            ensure!(condition(&node)?["status"] == "True", "{node}");
            ensure!(node["spec"]["taints"].is_null(), "{}", node["spec"]["taints"]);
            Ok(())
        })
        .await
    }

    /// Restarts the machine, as far as pods can tell: whatever runs in them ends, and kubelet and
    /// containerd begin anew.
    pub async fn restart(&mut self) -> Result<()> {
        let before = self.cluster.get(&["get", "node", FIRST.name]).await?;
        self.kubelet.kill()?;
        FIRST.end_pods()?;
        self.containerd.kill()?;
        self.containerd = containerd(&FIRST, &self.cluster).await?;
        self.kubelet = kubelet(&FIRST, &self.cluster)?;
        eventually("the node to be ready again", async || {
            let node = self.cluster.get(&["get", "node", FIRST.name]).await?;
            let (condition, before) = (condition(&node)?, condition(&before)?);
            ensure!(condition["status"] == "True", "{condition}");
            ensure!(condition["lastHeartbeatTime"] != before["lastHeartbeatTime"], "{condition}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// Starts a registry that pods reach as the node does, by its address; with users it admits only them.
    pub async fn registry(&self, logins: Vec<Login>) -> Result<Registry> {
        let registry =
            if logins.is_empty() { Registry::open().await? } else { Registry::with_logins(logins).await? };
        let registry = registry.moved_to(machine::ADDRESS.parse()?).await?;
        files::write_plain_http(&registry.host())?;
        Ok(registry)
    }

    /// Waits until a container of the only pod with this label is started, and gives its status.
    pub async fn runs(&self, namespace: &str, label: &str, container: &str) -> Result<Value> {
        eventually(&format!("{container} of {label} to run"), async || {
            let pods = self.cluster.get(&["get", "pods", "-n", namespace, "-l", label]).await?;
            let pods = pods["items"].as_array().context("pods")?;
            let pod = pods.first().with_context(|| format!("no pod of {label}"))?;
            let status = |list: &str| pod["status"][list].as_array().cloned().unwrap_or_default();
            let mut statuses = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
                .into_iter()
                .flat_map(status);
            let status = statuses.find(|status| status["name"] == container);
            let status = status.with_context(|| pod["status"].to_string())?;
            let state = &status["state"];
            ensure!(!state["running"].is_null() || state["terminated"]["exitCode"] == 0, "{status}");
            Ok(status)
        })
        .await
    }

    /// Everything that its parts have logged.
    pub fn log(&self) -> String {
        [&self.containerd, &self.kubelet].into_iter().chain(&self.parts).map(Process::log).collect()
    }
}

/// Whether a node is ready, and since when kubelet has said so.
fn condition(node: &Value) -> Result<&Value> {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == "Ready").context("no condition")
}

/// The folder of the plugins that give a pod its network.
fn network_plugins() -> Result<PathBuf, Missing> {
    let mut folders = ["/usr/lib/cni", "/opt/cni/bin"].into_iter().map(PathBuf::from);
    let folder = folders.find(|folder| folder.join("bridge").is_file());
    folder.ok_or_else(|| Missing::new("CNI plugins", "apt-get install containernetworking-plugins"))
}

/// What a sandbox runs.
fn pause(images: &Registry) -> String {
    format!("{}/pause:1", images.host())
}

async fn containerd(member: &Member, cluster: &Cluster) -> Result<Process> {
    program("runc", "apt-get install runc")?;
    program("iptables", "apt-get install iptables")?;
    let folder = cache(BUILT);
    if !folder.join("containerd").is_file() {
        Err(Missing::new(BUILT, "make test builds it, as root, with Go 1.24 or newer"))?;
    }
    let mut command = Command::new(folder.join("containerd"));
    // The shim that it starts is of the same version.
    let mut path = OsString::from(&folder);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.env("PATH", path).arg("--config").arg(member.containerd(cluster));
    let mut containerd = Process::start(command)?;
    // Its socket takes calls before that, and refuses them, at which a kubelet ends.
    containerd.line("it serves", |line| line.contains("successfully booted").then_some(())).await?;
    Ok(containerd)
}

fn kubelet(member: &Member, cluster: &Cluster) -> Result<Process> {
    let mut command = part(cluster, "kubelet", member.name)?;
    command.arg("--config").arg(member.kubelet(cluster));
    command.arg(format!("--root-dir=/var/lib/{}/kubelet", member.name));
    command.arg(format!("--cert-dir=/var/lib/{}/certificates", member.name));
    command.args(["--hostname-override", member.name, "--node-ip", member.address]);
    Process::start(command)
}

fn controllers(cluster: &Cluster) -> Result<Process> {
    let mut command = part(cluster, "kube-controller-manager", "controllers")?;
    command.arg("--service-account-private-key-file").arg(cluster.file("accounts.key"));
    command.arg("--root-ca-file").arg(cluster.file("authority.pem"));
    command.args(["--use-service-account-credentials", "--leader-elect=false"]);
    // A node that has become ready is let in at the next look.
    command.arg("--node-monitor-period=500ms");
    Process::start(command)
}

fn scheduler(cluster: &Cluster) -> Result<Process> {
    let mut command = part(cluster, "kube-scheduler", "scheduler")?;
    command.arg("--leader-elect=false");
    Process::start(command)
}

fn proxy(cluster: &Cluster) -> Result<Process> {
    let mut command = part(cluster, "kube-proxy", "proxy")?;
    command.args(["--proxy-mode=iptables", "--hostname-override", FIRST.name]);
    // Pods meet on one bridge, where an answer would pass the Service's translation by.
    command.args(["--masquerade-all", "--conntrack-max-per-core=0"]);
    Process::start(command)
}

/// A part of the cluster that logs in as one of its users.
fn part(cluster: &Cluster, name: &str, user: &str) -> Result<Command> {
    let mut command = Command::new(find(name, "make test builds it, as root, with Go 1.24 or newer")?);
    command.arg("--kubeconfig").arg(cluster.kubeconfig_of(user)?);
    Ok(command)
}

/// A path as a configuration names it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
