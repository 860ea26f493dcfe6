//! What the API server shows of the cluster: watches, and of each a mirror that keeps what is decided on and
//! nothing else. A watch that breaks off begins again; until then its mirror stays as it is.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use domain::labels::TAKES_PART;
use futures_util::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// How long the API server is left alone after it has failed.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// Objects that are in memory at once while they are listed.
const PAGE: u32 = 100;

/// The watches that are told of when they break.
pub(crate) const NAMESPACES: &str = "the watch on namespaces";
pub(crate) const PODS: &str = "the watch on pods";

/// A watch on objects of one kind.
pub(crate) type Watch<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// The objects of a kind, as far as `selected` names them.
pub(crate) fn watch<K>(client: &Client, selected: Config) -> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // Without bookmarks, for which an older etcd breaks the watch off.
    let config = selected.page_size(PAGE).disable_bookmarks();
    watcher::watcher(Api::all(client.clone()), config).backoff(Pause).boxed()
}

/// The namespaces that take part; of each its metadata.
pub(crate) fn namespaces(client: &Client) -> Watch<PartialObjectMeta<Namespace>> {
    let (label, value) = TAKES_PART;
    watch(client, Config::default().labels(&format!("{label}={value}")))
}

/// Sleeps until something is due, or without end.
pub(crate) async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Pause;

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {}
}

/// What a watch has shown so far.
#[derive(Debug)]
pub(crate) struct Mirror<N, T> {
    shown: BTreeMap<N, T>,
    /// What a list that is under way has shown.
    listed: BTreeMap<N, T>,
    is_complete: bool,
}

/// What an event has changed in a mirror.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed<N> {
    Nothing,
    One(N),
    /// A list has ended: anything.
    All,
}

impl<N, T> Default for Mirror<N, T> {
    fn default() -> Self {
        Self { shown: BTreeMap::new(), listed: BTreeMap::new(), is_complete: false }
    }
}

impl<N: Ord + Clone + Debug, T> Mirror<N, T> {
    /// Takes up an event. `trim` gives an object's name, and what is kept of it if anything is.
    pub(crate) fn take<K>(&mut self, event: Event<K>, trim: impl FnOnce(K) -> (N, Option<T>)) -> Changed<N> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                if let (name, Some(kept)) = trim(object) {
                    self.listed.insert(name, kept);
                }
            }
            Event::InitDone => {
                self.shown = std::mem::take(&mut self.listed);
                self.is_complete = true;
                return Changed::All;
            }
            Event::Apply(object) => {
                let (name, kept) = trim(object);
                self.set(name.clone(), kept);
                return Changed::One(name);
            }
            Event::Delete(object) => {
                let (name, _) = trim(object);
                self.shown.remove(&name);
                return Changed::One(name);
            }
        }
        Changed::Nothing
    }

    /// Sets what is known otherwise than by the watch.
    pub(crate) fn set(&mut self, name: N, kept: Option<T>) {
        match kept {
            Some(kept) => self.shown.insert(name, kept),
            None => self.shown.remove(&name),
        };
    }

    /// Whether everything was shown at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// What was shown.
    pub(crate) fn shown(&self) -> &BTreeMap<N, T> {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_forgets_what_a_new_list_does_not_show() {
        let mut mirror = Mirror::default();
        let keep = |name: &'static str| (name, (name != "trimmed").then_some(()));
        let mut take = |event| {
            let changed = mirror.take(event, keep);
            (changed, mirror.shown().keys().copied().collect::<Vec<_>>(), mirror.is_complete())
        };
        assert_eq!(take(Event::Init), (Changed::Nothing, vec![], false));
        for name in ["a", "b", "trimmed"] {
            assert_eq!(take(Event::InitApply(name)), (Changed::Nothing, vec![], false));
        }
        assert_eq!(take(Event::InitDone), (Changed::All, vec!["a", "b"], true));
        assert_eq!(take(Event::Apply("c")), (Changed::One("c"), vec!["a", "b", "c"], true));
        assert_eq!(take(Event::Delete("b")), (Changed::One("b"), vec!["a", "c"], true));
        take(Event::Init);
        assert_eq!(take(Event::InitApply("c")).1, ["a", "c"], "it stays as it is until the list has ended");
        assert_eq!(take(Event::InitDone), (Changed::All, vec!["c"], true));
    }
}
