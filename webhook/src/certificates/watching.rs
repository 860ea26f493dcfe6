//! Wakes the keeper when one of the three objects changes, whoever has changed it. What they say the
//! keeper reads itself. A watch that is lost begins again.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use futures_util::StreamExt as _;
use kube::api::{Api, WatchEvent, WatchParams};
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
            () = once(&api, name, &wake) => {}
            () = shutdown.begun() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            () = shutdown.begun() => return,
        }
    }
}

/// One watch to its end. It begins with the object as it is, so that nothing between two is missed.
async fn once<K>(api: &Api<K>, name: &str, wake: &Notify)
where
    K: Clone + Debug + DeserializeOwned,
{
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    // Why there is none, the keeper hears at its own next call.
    let Ok(events) = api.watch(&params, "0").await else { return };
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_)) => wake.notify_one(),
            Ok(WatchEvent::Bookmark(_)) => {}
            Ok(WatchEvent::Error(_)) => return,
            Err(error) => {
                debug!(name, %error, "a watch broke off");
                return;
            }
        }
    }
}
