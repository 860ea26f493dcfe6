//! What containerd, its network plugin and kubelet read. Paths are the programs' usual ones
//! wherever they keep something: in the machine of the test these are empty and its own.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{CONTAINERD as SOCKET, machine, shown};
use crate::cluster::Cluster;

pub(super) const CONTAINERD: &str = "containerd.toml";
pub(super) const KUBELET: &str = "kubelet.json";

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

/// Writes them beside the files of the control plane.
pub(super) fn write(cluster: &Cluster, plugins: &Path, pause: &str) -> Result<()> {
    let networks = cluster.file("networks");
    fs::create_dir(&networks)?;
    fs::write(networks.join("pods.conflist"), network().to_string())?;
    fs::write(cluster.file(CONTAINERD), containerd(&shown(plugins), &shown(&networks), pause))?;
    fs::write(cluster.file(KUBELET), kubelet(cluster).to_string())?;
    Ok(())
}

fn network() -> serde_json::Value {
    let ranges = json!([[{"subnet": machine::PODS}]]);
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": machine::BRIDGE,
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": ranges, "dataDir": "/run/addresses"},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn containerd(plugins: &str, networks: &str, pause: &str) -> String {
    // Without CAP_SYS_RESOURCE nobody may make a process less likely to be killed than himself.
    format!(
        "version = 2\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"/run/opt\"\n\
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

fn kubelet(cluster: &Cluster) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": machine::cgroup(),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "resolvConf": "",
        "featureGates": {"ImageVolume": true},
        "volumePluginDir": shown(&cluster.file("plugins")),
    })
}
