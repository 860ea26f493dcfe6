//! Keeps the pull Secrets: in every namespace that takes part one Secret with the READ logins of all
//! registries, so that nodes can pull what was pushed. `run` starts it where `--kubernetes` is on. Here is
//! the loop; what is to be done is in `decision`, what a Secret holds in `logins`. Several syncers may keep
//! them at once: what one has written the others find as they would write it.

mod decision;
mod logins;
mod need;
mod queue;
mod writing;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, ClusterError};
use domain::fact::Revision;
use domain::labels::PULL_SECRET;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Config, Event};
use runtime::Shutdown;
use runtime::admin::Condition;
use store::{ReadLogin, Store};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use self::decision::{Found, Step};
use self::logins::Logins;
use self::need::Need;
use self::queue::Queue;
use crate::troubles::Troubles;
use crate::watching::{self, Changed, Mirror, NAMESPACES, PAUSE, PODS, sleep_until};
use crate::worker::{DATABASE, DATABASE_PAUSE, chain};

/// Writes at once; with more of them the API server is no sooner done.
const AT_ONCE: usize = 16;
/// How long an answer of the API server is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// How long no registry is looked for at the most, in case a sign was missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What is told of, beside namespaces, whose names hold no spaces.
const WRITES: &str = "the writes";
const SECRETS: &str = "the watch on Secrets";
const REGISTRY: &str = "registry ";

/// Keeps them until the shutdown. `changes` tells that something was written to the database.
pub(crate) async fn keep(
    cluster: Cluster,
    store: Store,
    changes: Receiver<()>,
    condition: Condition,
    shutdown: Shutdown,
) {
    condition.ready_with("the API server has not been asked yet");
    let keeper = Keeper {
        client: cluster.client,
        store,
        revision: None,
        look_at: Instant::now(),
        wanted: Arc::default(),
        takes_part: Mirror::default(),
        found: Mirror::default(),
        need: Need::default(),
        queue: Queue::default(),
        writes: JoinSet::new(),
        under_way: HashSet::new(),
        written: 0,
        not_before: Instant::now(),
        is_settled: false,
        troubles: Troubles::new(condition, "the pull Secrets are not as they should be"),
    };
    tokio::select! {
        () = keeper.run(changes) => {}
        () = shutdown.begun() => {}
    }
}

struct Keeper {
    client: Client,
    store: Store,
    /// That of `wanted`; none until the registries were read.
    revision: Option<Revision>,
    /// When the registries are looked at whether or not anything was heard.
    look_at: Instant,
    wanted: Arc<Logins>,
    takes_part: Mirror<String, ()>,
    found: Mirror<String, Found>,
    need: Need,
    queue: Queue,
    writes: JoinSet<Written>,
    /// The namespaces that are being written to.
    under_way: HashSet<String>,
    /// How many were written since it was last told.
    written: usize,
    /// Nothing is begun before.
    not_before: Instant,
    is_settled: bool,
    troubles: Troubles,
}

/// What came of one write: the Secret that is there then, if any.
struct Written {
    namespace: String,
    result: Result<Option<Found>, ClusterError>,
}

impl Keeper {
    async fn run(mut self, mut changes: Receiver<()>) {
        // First of all, so that equal logins in the Secrets are held once.
        loop {
            self.load().await;
            if self.revision.is_some() {
                break;
            }
            tokio::time::sleep_until(self.look_at).await;
        }
        let mut namespaces = watching::namespaces(&self.client);
        // In all namespaces, but by their name: the rights for others are not needed.
        let ours = Config::default().fields(&format!("metadata.name={PULL_SECRET}"));
        let mut secrets = watching::watch::<Secret>(&self.client, ours);
        loop {
            self.start_due();
            self.settle();
            self.troubles.tell((!self.is_complete()).then_some("the API server has not answered yet"));
            let due = self.queue.next().filter(|_| self.is_complete() && self.writes.len() < AT_ONCE);
            let due = due.map(|due| due.max(self.not_before));
            tokio::select! {
                Some(event) = namespaces.next() => self.hear(NAMESPACES, event, Self::namespace),
                Some(event) = secrets.next() => self.hear(SECRETS, event, Self::secret),
                Some(event) = self.need.next() => self.hear(PODS, event, |keeper, event| keeper.need.take(event)),
                Some(Ok(written)) = self.writes.join_next() => self.finish(written),
                Ok(()) = changes.changed() => self.load().await,
                () = tokio::time::sleep_until(self.look_at) => self.load().await,
                () = sleep_until(due) => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.takes_part.is_complete() && self.found.is_complete()
    }

    /// Reads the logins, if a registry has changed.
    async fn load(&mut self) {
        let read = match self.store.read_logins(self.revision).await {
            Ok(read) => read,
            Err(error) => {
                self.troubles.add(DATABASE, chain(&error));
                self.look_at = Instant::now() + DATABASE_PAUSE;
                return;
            }
        };
        self.troubles.remove(DATABASE);
        self.look_at = Instant::now() + LONGEST_SLEEP;
        let Some(read) = read else { return };
        self.revision = Some(read.revision);
        self.troubles.remove_all(REGISTRY);
        let mut wanted = Logins::default();
        for ReadLogin { registry, addresses, login } in read.logins {
            match login {
                Ok(login) => addresses.iter().for_each(|address| wanted.add(address, login.clone())),
                Err(error) => {
                    let subject = format!("{REGISTRY}{registry}");
                    self.troubles.add(&subject, format!("its stored login is {error}; give it again"));
                }
            }
        }
        if wanted != *self.wanted {
            self.wanted = Arc::new(wanted);
            self.put(Changed::All);
        }
    }

    /// Takes up what a watch says.
    fn hear<K>(
        &mut self,
        watch: &'static str,
        event: watcher::Result<Event<K>>,
        take: impl FnOnce(&mut Self, Event<K>) -> Changed<String>,
    ) {
        match event {
            Ok(event) => {
                // Which only says that a list will be tried.
                if !matches!(event, Event::Init) {
                    self.troubles.remove(watch);
                }
                let changed = take(self, event);
                self.put(changed);
            }
            Err(error) => self.troubles.add(watch, chain(&error)),
        }
    }

    fn namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) -> Changed<String> {
        self.takes_part.take(event, |namespace| {
            let metadata = namespace.metadata;
            // Nothing can be made in one that is being deleted, and what is there goes with it.
            let stays = metadata.deletion_timestamp.is_none();
            (metadata.name.unwrap_or_default(), stays.then_some(()))
        })
    }

    fn secret(&mut self, event: Event<Secret>) -> Changed<String> {
        let wanted = &self.wanted;
        self.found.take(event, |secret| {
            let found = Found::of(&secret, wanted);
            (secret.metadata.namespace.unwrap_or_default(), Some(found))
        })
    }

    /// Has what has changed decided on.
    fn put(&mut self, changed: Changed<String>) {
        let now = Instant::now();
        match changed {
            Changed::Nothing => return,
            Changed::One(namespace) => self.queue.put(&namespace, now),
            Changed::All => {
                for namespace in self.takes_part.shown().keys().chain(self.found.shown().keys()) {
                    self.queue.put(namespace, now);
                }
            }
        }
        self.is_settled = false;
    }

    /// Begins what is due, as far as there is room.
    fn start_due(&mut self) {
        let now = Instant::now();
        while self.is_complete() && self.writes.len() < AT_ONCE && now >= self.not_before {
            let Some(namespace) = self.queue.take(now) else { return };
            // When it is done, it is decided on again.
            if !self.under_way.contains(&namespace) {
                self.start(namespace);
            }
        }
    }

    fn start(&mut self, namespace: String) {
        let takes_part = self.takes_part.shown().contains_key(&namespace);
        let found = self.found.shown().get(&namespace);
        let is_needed = |place: &str| self.need.is_needed(&namespace, place);
        let step = decision::step(takes_part, found, &self.wanted, is_needed);
        match step {
            Step::Write(..) | Step::Delete(_) => {
                self.under_way.insert(namespace.clone());
                self.writes.spawn(perform(self.client.clone(), namespace, step));
            }
            Step::Leave => {
                let advice = "the Secret drayage-registries there is somebody else's and left alone; delete it, and one is made";
                self.troubles.add(&namespace, advice.to_owned());
            }
            Step::Rest => {
                self.troubles.remove(&namespace);
                if !takes_part {
                    self.queue.forget(&namespace);
                }
            }
        }
    }

    fn finish(&mut self, written: Written) {
        let Written { namespace, result } = written;
        self.under_way.remove(&namespace);
        let now = Instant::now();
        match result {
            Ok(found) => {
                self.written += 1;
                self.troubles.remove(WRITES);
                self.troubles.remove(&namespace);
                // The watch is told later.
                self.found.set(namespace.clone(), found);
                self.queue.written(&namespace, now);
                self.queue.put(&namespace, now);
            }
            Err(error @ ClusterError::Unreachable(_)) => {
                self.troubles.add(WRITES, chain(&error));
                self.not_before = now + PAUSE;
                self.queue.put(&namespace, now);
            }
            // What it has become the watch tells.
            Err(ClusterError::Conflict(_)) => self.queue.failed(&namespace, now),
            Err(error) => {
                self.troubles.add(&namespace, chain(&error));
                self.queue.failed(&namespace, now);
            }
        }
        self.is_settled = false;
    }

    /// When nothing is due: asks who needs what no registry is behind any more, and tells what was done.
    fn settle(&mut self) {
        let is_idle = self.under_way.is_empty() && self.queue.next().is_none_or(|due| due > Instant::now());
        if self.is_settled || !is_idle || !self.is_complete() {
            return;
        }
        let held = self.found.shown().iter().filter(|(name, _)| self.takes_part.shown().contains_key(*name));
        let former = held.filter_map(|(_, found)| found.logins());
        let places: BTreeSet<_> =
            former.flat_map(|logins| logins.beyond(&self.wanted)).map(str::to_owned).collect();
        self.need.ask(places, &self.client);
        if self.written > 0 {
            info!(
                namespaces = self.takes_part.shown().len(),
                written = self.written,
                "the pull Secrets are as they should be"
            );
            self.written = 0;
        }
        self.is_settled = true;
    }
}

async fn perform(client: Client, namespace: String, step: Step) -> Written {
    let work = async {
        match step {
            Step::Write(logins, uid) => writing::write(client, &namespace, logins, uid).await.map(Some),
            Step::Delete(uid) => writing::delete(client, &namespace, uid).await.map(|()| None),
            Step::Rest | Step::Leave => Ok(None),
        }
    };
    let result = match tokio::time::timeout(ANSWERED_WITHIN, work).await {
        Ok(result) => result,
        Err(late) => Err(ClusterError::Unreachable(kube::Error::Service(late.into()))),
    };
    Written { namespace, result }
}
