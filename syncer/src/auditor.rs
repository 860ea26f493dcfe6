//! Watches the running pods of the cluster and finds those that run from elsewhere than their routes say.
//! `run` starts it where `--kubernetes` is on; the api reads what it records. Here is the loop; a pod is
//! judged in `judgement`. Several auditors write the same rows. Nothing is ever evicted.

mod events;
mod judgement;
mod recreations;
mod routes;
mod shown;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use cluster::Cluster;
use domain::Timestamp;
use domain::fact::Revision;
use domain::registry::Address;
use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Config, Event};
use routing::Table;
use runtime::Shutdown;
use runtime::admin::Condition;
use store::{AuditedPod, DatabaseUrl, Store, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use self::events::Events;
use self::judgement::Judge;
use self::recreations::Recreations;
use self::shown::{Listed, Shared, Shown};
use crate::troubles::Troubles;
use crate::watching::{self, Changed, Mirror, NAMESPACES, PODS, Watch, sleep_until};
use crate::worker::{DATABASE, chain};

/// Between two rounds at least and at most, so that many changes are one round.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is recorded that the cluster is seen.
const SEEN_EVERY: Duration = Duration::from_secs(10);
/// How long the API server is waited for before that.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const API_SERVER: &str = "the API server";
/// Pods that are judged and recorded at once.
const BATCH: usize = 256;
/// Times of routes that are remembered.
const TIMES: usize = 10_000;

/// Audits until the shutdown. `aliases` are other names by which pods call the source registry.
pub(crate) async fn audit(
    cluster: Cluster,
    store: Store,
    database: DatabaseUrl,
    aliases: Vec<Address>,
    condition: Condition,
    shutdown: Shutdown,
) {
    condition.ready_with("the API server has not been asked yet");
    let routes = routes::follow(database, Table::new(rand::random(), &aliases));
    let auditor = Auditor {
        events: Events::start(cluster.client.clone()),
        store,
        takes_part: Mirror::default(),
        pods: Mirror::default(),
        shared: Shared::default(),
        due: Due::Pods(BTreeSet::new()),
        recorded: None,
        since: HashMap::new(),
        recreations: Recreations::default(),
        named: HashSet::new(),
        troubles: Troubles::new(condition, "the pods cannot be audited"),
    };
    tokio::select! {
        () = auditor.run(cluster, routes) => {}
        () = shutdown.begun() => {}
    }
}

struct Auditor {
    events: Events,
    store: Store,
    takes_part: Mirror<String, ()>,
    pods: Mirror<Uuid, Shown>,
    shared: Shared,
    due: Due,
    /// The pods in the database, each with a hash of its rows; none until they are to be compared.
    recorded: Option<HashMap<Uuid, Option<u64>>>,
    /// Since when the images of these routes have had one.
    since: HashMap<Revision, Timestamp>,
    recreations: Recreations,
    /// The controllers that were told of.
    named: HashSet<String>,
    troubles: Troubles,
}

/// What is to be judged.
enum Due {
    Pods(BTreeSet<Uuid>),
    All,
}

impl Auditor {
    async fn run(mut self, cluster: Cluster, mut routes: watch::Receiver<Option<Table>>) {
        let client = &cluster.client;
        let mut namespaces = watching::namespaces(client);
        let mut pods = watching::watch::<Listed>(client, Config::default());
        let mut seen = tokio::time::interval(SEEN_EVERY);
        seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round_at = Instant::now();
        loop {
            self.troubles.tell(self.recorded.is_none().then_some("the pods are being read"));
            let round = sleep_until(self.is_due().then_some(round_at));
            tokio::select! {
                Some(event) = namespaces.next() => {
                    // A watch that broke off begins again with a list: when that is there, all is well.
                    if !self.hear(NAMESPACES, event, Self::namespace) {
                        namespaces = later(watching::namespaces(client));
                    }
                }
                Some(event) = pods.next() => {
                    if !self.hear(PODS, event, Self::pod) {
                        pods = later(watching::watch(client, Config::default()));
                    }
                }
                Ok(()) = routes.changed() => self.due = Due::All,
                _ = seen.tick() => self.see(client).await,
                () = round => {
                    let began = Instant::now();
                    let table = routes.borrow_and_update().clone();
                    let result = match table {
                        Some(table) => self.round(&table, client).await,
                        None => Ok(()),
                    };
                    // A twentieth of the time is enough for a large cluster and many routes.
                    round_at = Instant::now() + (began.elapsed() * 20).clamp(PAUSE, LONGEST_PAUSE);
                    self.told(&result);
                }
            }
        }
    }

    /// Whether there is anything to judge, and everything to judge it by.
    fn is_due(&self) -> bool {
        let is_due = match &self.due {
            Due::All => true,
            Due::Pods(pods) => !pods.is_empty(),
        };
        is_due && self.takes_part.is_complete() && self.pods.is_complete()
    }

    /// Takes up what a watch says; `false` when it broke off.
    fn hear<K>(
        &mut self,
        watch: &'static str,
        event: watcher::Result<Event<K>>,
        take: impl FnOnce(&mut Self, Event<K>),
    ) -> bool {
        match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    self.troubles.remove(watch);
                }
                take(self, event);
                true
            }
            Err(error) => {
                self.troubles.add(watch, chain(&error));
                false
            }
        }
    }

    fn namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        let name =
            |namespace: PartialObjectMeta<Namespace>| (namespace.metadata.name.unwrap_or_default(), Some(()));
        match self.takes_part.take(event, name) {
            Changed::Nothing => {}
            Changed::One(_) | Changed::All => self.due = Due::All,
        }
    }

    fn pod(&mut self, event: Event<Listed>) {
        let Some(event) = readable(event) else { return };
        if let Event::Delete(pod) = &event
            && !pod.is_exempt
            && self.pods.shown().contains_key(&pod.uid)
        {
            self.recreations.gone(pod, Timestamp::now());
        }
        let trim = |pod: Shown| (pod.uid, (!pod.is_exempt).then(|| self.shared.with(pod)));
        match self.pods.take(event, trim) {
            Changed::Nothing => {}
            Changed::One(pod) => {
                if let Due::Pods(pods) = &mut self.due {
                    pods.insert(pod);
                }
            }
            Changed::All => (self.due, self.recorded) = (Due::All, None),
        }
    }

    /// Judges what is due and records what is not recorded yet.
    async fn round(&mut self, table: &Table, client: &Client) -> Result<(), StoreError> {
        let is_first = self.recorded.is_none();
        if is_first {
            let recorded = self.store.recorded_pods().await?;
            self.recorded = Some(recorded.into_iter().map(|pod| (pod, None)).collect());
        }
        let due: Vec<Uuid> = match &self.due {
            Due::Pods(pods) => pods.iter().copied().collect(),
            Due::All => {
                let recorded = self.recorded.iter().flat_map(HashMap::keys);
                recorded
                    .chain(self.pods.shown().keys())
                    .copied()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect()
            }
        };
        let mut strays = 0;
        for batch in due.chunks(BATCH) {
            strays += self.batch(batch, table).await?;
        }
        self.due = Due::Pods(BTreeSet::new());
        if strays > 0 {
            tracing::warn!(strays, "pods run from elsewhere than their routes say");
        }
        if is_first {
            tracing::info!(pods = self.pods.shown().len(), "the pods of the cluster were audited");
            self.see(client).await;
        }
        Ok(())
    }

    /// Judges and records some pods; how many of them have become strays.
    async fn batch(&mut self, batch: &[Uuid], table: &Table) -> Result<usize, StoreError> {
        let (mut judged, unknown) = self.judge(batch, table);
        if !unknown.is_empty() {
            if self.since.len() > TIMES {
                self.since.clear();
            }
            self.since.extend(self.store.routed_since(unknown).await?);
            (judged, _) = self.judge(batch, table);
        }
        let recorded = self.recorded.get_or_insert_default();
        let known: HashSet<_> = judged.iter().map(|pod| pod.uid).collect();
        let is_gone = |pod: &Uuid| recorded.contains_key(pod) && !known.contains(pod);
        let gone: Vec<_> = batch.iter().copied().filter(is_gone).collect();
        judged.retain(|pod| recorded.get(&pod.uid) != Some(&Some(hash(pod))));
        if judged.is_empty() && gone.is_empty() {
            return Ok(0);
        }
        let strays = self.store.record_pods(judged.clone(), gone.clone()).await?;
        for pod in &judged {
            recorded.insert(pod.uid, Some(hash(pod)));
            if strays.contains(&pod.uid) {
                self.events.stray(pod);
            }
        }
        recorded.retain(|pod, _| !gone.contains(pod));
        Ok(strays.len())
    }

    /// What some of the pods run, as far as it is known, and the routes whose times are not.
    fn judge(&self, batch: &[Uuid], table: &Table) -> (Vec<AuditedPod>, Vec<Revision>) {
        let mut judge = Judge { table, since: &self.since, unknown: HashSet::new() };
        let pods = batch.iter().filter_map(|pod| {
            let pod = self.pods.shown().get(pod)?;
            let takes_part = self.takes_part.shown().contains_key(&pod.name.namespace);
            let images = judge.judge(pod, takes_part);
            (!images.is_empty()).then(|| AuditedPod {
                uid: pod.uid,
                name: pod.name.clone(),
                owner: pod.owner.as_ref().map(|owner| format!("{}/{}", owner.kind, owner.name)),
                created_at: pod.created_at,
                images,
            })
        });
        (pods.collect(), judge.unknown.into_iter().collect())
    }

    /// Records that the cluster is seen, and who keeps creating pods anew.
    async fn see(&mut self, client: &Client) {
        let is_blind = [NAMESPACES, PODS].iter().any(|watch| self.troubles.has(watch));
        if is_blind || self.recorded.is_none() || !self.hears(client).await {
            return;
        }
        self.shared.prune();
        let found = self.recreations.found(self.pods.shown().values(), Timestamp::now());
        for recreator in found.iter().filter(|found| !self.named.contains(&found.owner.uid)) {
            tracing::warn!(namespace = recreator.namespace, "{}", recreator.sentence());
            self.events.recreator(recreator);
        }
        self.named = found.iter().map(|found| found.owner.uid.clone()).collect();
        let recreators = found.iter().map(|found| (found.namespace.clone(), found.name(), found.pods as u64));
        let result = self.store.record_audit(recreators.collect()).await;
        self.told(&result);
    }

    /// Whether the API server answers at all: the watches on one that hangs are silent, as if nothing changed.
    async fn hears(&mut self, client: &Client) -> bool {
        match tokio::time::timeout(ANSWERED_WITHIN, client.apiserver_version()).await {
            // A refusal is an answer.
            Ok(Ok(_) | Err(kube::Error::Api(_))) => self.troubles.remove(API_SERVER),
            Ok(Err(error)) => self.troubles.add(API_SERVER, chain(&error)),
            Err(_) => self.troubles.add(API_SERVER, "it does not answer".to_owned()),
        }
        !self.troubles.has(API_SERVER)
    }

    /// What the database has said.
    fn told(&mut self, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => self.troubles.remove(DATABASE),
            Err(error) => self.troubles.add(DATABASE, chain(error)),
        }
    }
}

/// A watch that begins a little later.
fn later<K: Send + 'static>(watch: Watch<K>) -> Watch<K> {
    tokio::time::sleep(watching::PAUSE).map(|()| watch).flatten_stream().boxed()
}

/// The event without the pods that cannot be read.
fn readable(event: Event<Listed>) -> Option<Event<Shown>> {
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(pod) => Event::InitApply(pod.shown?),
        Event::Apply(pod) => Event::Apply(pod.shown?),
        Event::Delete(pod) => Event::Delete(pod.shown?),
    })
}

fn hash(pod: &AuditedPod) -> u64 {
    let mut hasher = DefaultHasher::new();
    pod.hash(&mut hasher);
    hasher.finish()
}
