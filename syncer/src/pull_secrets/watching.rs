//! The watches that pull Secrets alone need.

use domain::labels::PULL_SECRET;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::runtime::watcher::Config;

use crate::watching::{Watch, watch};

/// The Secrets of our name, in all namespaces; the rights for others are not needed.
pub(super) fn secrets(client: &Client) -> Watch<Secret> {
    watch(client, Config::default().fields(&format!("metadata.name={PULL_SECRET}")))
}

/// The pods that have not ended.
pub(super) fn pods(client: &Client) -> Watch<Pod> {
    watch(client, Config::default().fields("status.phase!=Succeeded,status.phase!=Failed"))
}
