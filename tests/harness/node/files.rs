//! What containerd, its network plugin and kubelet read. Paths are the programs' usual ones
//! wherever they keep something: in the machine of the test these are empty and its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::machine::Member;
use super::shown;
use crate::cluster::Cluster;

/// Where containerd looks up how to speak with a registry.
const REGISTRIES: &str = "/run/registries";

/// Has containerd speak plain HTTP with a registry, as it does with those on loopback anyway.
pub(super) fn write_plain_http(host: &str) -> Result<()> {
    let folder = Path::new(REGISTRIES).join(host);
    fs::create_dir_all(&folder)?;
    let url = format!("http://{host}");
    // containerd 1.6 refuses a file without the second line.
    fs::write(folder.join("hosts.toml"), format!("server = \"{url}\"\n[host.\"{url}\"]\n"))?;
    Ok(())
}

impl Member {
    /// What containerd reads.
    pub(super) fn containerd(&self, cluster: &Cluster) -> PathBuf {
        cluster.file(&format!("{}-containerd.toml", self.name))
    }

    /// What kubelet reads.
    pub(super) fn kubelet(&self, cluster: &Cluster) -> PathBuf {
        cluster.file(&format!("{}-kubelet.json", self.name))
    }

    /// Where the two meet.
    fn socket(&self) -> String {
        format!("/run/{}/containerd.sock", self.name)
    }

    /// Writes them beside the files of the control plane.
    pub(super) fn write(&self, cluster: &Cluster, plugins: &Path, pause: &str) -> Result<()> {
        let networks = cluster.file(&format!("{}-networks", self.name));
        fs::create_dir(&networks)?;
        fs::write(networks.join("pods.conflist"), network(self).to_string())?;
        fs::write(self.containerd(cluster), containerd(self, &shown(plugins), &shown(&networks), pause))?;
        fs::write(self.kubelet(cluster), kubelet(self, cluster).to_string())?;
        Ok(())
    }
}

fn network(member: &Member) -> serde_json::Value {
    let ranges = json!([[{"subnet": member.pods}]]);
    json!({
        "cniVersion": "1.0.0",
        "name": member.bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": member.bridge,
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": ranges, "dataDir": "/run/addresses"},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn containerd(member: &Member, plugins: &str, networks: &str, pause: &str) -> String {
    let (name, socket) = (member.name, member.socket());
    // Without CAP_SYS_RESOURCE nobody may make a process less likely to be killed than himself.
    format!(
        "version = 2\n\
         root = \"/var/lib/{name}/containerd\"\n\
         state = \"/run/{name}\"\n\
         [grpc]\naddress = \"{socket}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"/run/{name}/opt\"\n\
         [plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{pause}\"\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
         config_path = \"{REGISTRIES}\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = \"{plugins}\"\n\
         conf_dir = \"{networks}\"\n"
    )
}

fn kubelet(member: &Member, cluster: &Cluster) -> serde_json::Value {
    let [port, health] = member.ports;
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", member.socket()),
        "port": port,
        "healthzPort": health,
        "podLogsDir": format!("/var/log/{}", member.name),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": member.cgroup(),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "resolvConf": "",
        "featureGates": {"ImageVolume": true},
        "volumePluginDir": shown(&cluster.file("plugins")),
    })
}
