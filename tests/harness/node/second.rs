//! A second node beside the first, for claims that take one away: with a kubelet, a containerd and pods of its own,
//! and everything else of the machine shared, so that a volume of the first is one that any node can attach.

use anyhow::{Context, Result};

use super::machine::SECOND;
use super::{Node, containerd, kubelet, network_plugins, pause};
use crate::process::Process;

/// A node that runs.
#[derive(Debug)]
pub struct Second {
    containerd: Process,
    kubelet: Process,
}

impl Second {
    /// What the node is called.
    pub const NAME: &str = SECOND.name;

    /// Has one join, and waits until it is ready.
    pub async fn join(node: &Node) -> Result<Self> {
        SECOND.furnish()?;
        SECOND.write(&node.cluster, &network_plugins()?, &pause(&node.images))?;
        let containerd = containerd(&SECOND, &node.cluster).await?;
        let second = Self { containerd, kubelet: kubelet(&SECOND, &node.cluster)? };
        let ready = node.is_ready(&SECOND).await;
        ready.with_context(|| [second.containerd.log(), second.kubelet.log()].concat())?;
        Ok(second)
    }

    /// Takes it away at once, without a word to anybody.
    pub fn die(mut self) -> Result<()> {
        SECOND.cut_off()?;
        self.kubelet.kill()?;
        SECOND.end_pods()?;
        self.containerd.kill()
    }
}
