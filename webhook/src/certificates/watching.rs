//! Wakes the keeper when one of the three objects changes, whoever has changed it. What they say the
//! keeper reads itself. A watch that ends or is lost begins again with a list.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use futures_util::TryStreamExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use runtime::Shutdown;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::debug;

use super::secrets::{AUTHORITY, LEAF, Place};
use crate::registration::{CONFIGURATION, Registration};

const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The watches of one keeper.
pub(super) struct Watches(Arc<Notify>);

impl Watches {
    /// Watches until the shutdown.
    pub(super) fn start(cluster: &Cluster, shutdown: &Shutdown) -> Self {
        let wake = Arc::new(Notify::new());
        for name in [AUTHORITY.name, LEAF.name] {
            tokio::spawn(watch(Place::api(cluster), name, wake.clone(), shutdown.clone()));
        }
        let registration = Registration::of(cluster).api();
        tokio::spawn(watch(registration, CONFIGURATION, wake.clone(), shutdown.clone()));
        Self(wake)
    }

    /// Waits for a change since the last call.
    pub(super) async fn changed(&self) {
        self.0.notified().await;
    }
}

async fn watch<K>(api: Api<K>, name: &'static str, wake: Arc<Notify>, shutdown: Shutdown)
where
    K: Clone + Debug + DeserializeOwned + Send + 'static,
{
    loop {
        tokio::select! {
            ended = once(&api, name, &wake) => {
                // Why there is none, the keeper hears at its own next call.
                if let Err(error) = ended {
                    debug!(name, %error, "a watch broke off");
                }
            }
            () = shutdown.begun() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            () = shutdown.begun() => return,
        }
    }
}

/// One watch to its end. What it does not tell, for it happened before, the list does.
async fn once<K>(api: &Api<K>, name: &str, wake: &Notify) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let field = format!("metadata.name={name}");
    let listed = api.list(&ListParams::default().fields(&field)).await?;
    wake.notify_one();
    // Without bookmarks, for which an older etcd breaks the watch off.
    let params = WatchParams::default().fields(&field).disable_bookmarks();
    let since = listed.metadata.resource_version.unwrap_or_default();
    let mut events = std::pin::pin!(api.watch(&params, &since).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => wake.notify_one(),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}
