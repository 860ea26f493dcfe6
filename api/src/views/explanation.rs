//! The explanation of an image on the wire: one sentence for people, the decision behind it for scripts.

use std::collections::{HashMap, HashSet};

use domain::fact::Fact;
use domain::labels::PULL_SECRET;
use domain::push::PushStatus;
use domain::reference::ReferenceError;
use domain::registry::RegistryId;
use routing::Decision;
use routing::decision::{NoRoute, RegistryName, Routed};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Evidence, PushRecord, Registry, Success};
use utoipa::ToSchema;
use uuid::Uuid;

use super::moment;
use super::pod::PodExplanationView;
use super::push::PushStatusView;

/// What `GET /v1/explain` answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Explanation)]
pub(crate) enum ExplanationView {
    Image(Box<ImageExplanationView>),
    Pod(Box<PodExplanationView>),
}

/// From where an image is pulled, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageExplanation)]
pub(crate) struct ImageExplanationView {
    /// The whole of it in words; an admission says the same.
    sentence: String,
    /// The image that was asked about.
    image: String,
    /// `routed`: it is pulled from a registry. `destination`: it names one already. The others run as they
    /// are: `foreign` is no image of a compiled algorithm, and the rest say why there is no route.
    #[schema(schema_with = decisions)]
    decision: &'static str,
    /// What a pod that names the image pulls instead.
    pulled_as: Option<String>,
    /// The newest image of the tag is not pushed yet, so an older one is pulled.
    behind: bool,
    /// The push that decided.
    push: Option<SuccessView>,
    /// What nodes log in with to pull it.
    pull_secret: Option<PullSecretView>,
    /// Every registry's latest success, the latest first, the one that decided among them.
    considered: Vec<SuccessView>,
    /// Pushes of the image that wait, run or failed, the last changed first.
    pushes: Vec<UnfinishedView>,
}

/// A push that succeeded.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = SuccessfulPush)]
struct SuccessView {
    registry_id: Uuid,
    registry_name: Option<String>,
    /// A registry that was deleted is passed over.
    registry_deleted: bool,
    /// Whether the image is pulled from there.
    decided: bool,
    /// The full reference in the registry.
    image: String,
    digest: String,
    #[schema(format = DateTime)]
    succeeded_at: String,
    /// The order of successes: the greatest of a registry that exists decides.
    revision: u64,
}

/// The Secret that nodes pull with.
#[derive(Serialize, ToSchema)]
#[schema(as = PullSecret)]
struct PullSecretView {
    /// Its name in every namespace that takes part.
    name: &'static str,
    /// Whether it holds a login for the registry: whether the registry stores one. Without, nodes pull
    /// as nobody.
    has_login: bool,
}

/// A push that has not succeeded.
#[derive(Serialize, ToSchema)]
#[schema(as = UnfinishedPush)]
struct UnfinishedView {
    /// What it is doing, in words.
    sentence: String,
    registry_name: Option<String>,
    #[serde(flatten)]
    status: PushStatusView,
}

impl ImageExplanationView {
    /// The explanation of a decision by its evidence; `registry` is the one that the image is pulled from.
    pub(crate) fn new(
        image: &str,
        decision: &Decision,
        registry: Option<&Registry>,
        evidence: Evidence,
    ) -> Result<Self, ReferenceError> {
        let Evidence { facts, successes, pushes } = evidence;
        let names: HashMap<_, _> = facts.iter().filter_map(name).collect();
        let routed = match decision {
            Decision::Routed(routed) => Some(routed),
            _ => None,
        };
        let (mut considered, mut seen) = (Vec::new(), HashSet::new());
        for success in &successes {
            if seen.insert(success.route.registry) {
                considered.push(SuccessView::new(success, routed, &names)?);
            }
        }
        let pushes = pushes.into_iter().map(|push| UnfinishedView::new(push, &names)).collect();
        // Its path may end like one of the source registry; nothing there is about it.
        let (considered, pushes) = match decision {
            Decision::Foreign => (Vec::new(), Vec::new()),
            _ => (considered, pushes),
        };
        Ok(Self {
            sentence: decision.sentence(image),
            image: image.to_owned(),
            decision: word(decision),
            pulled_as: routed.map(|routed| routed.to.clone()),
            behind: routed.is_some_and(|routed| routed.behind),
            push: considered.iter().find(|success| success.decided).cloned(),
            pull_secret: registry.map(|registry| {
                // The login is for where the registry is now; a route may lead to an earlier host of it.
                let moved = successes.iter().any(|success| {
                    routed.is_some_and(|routed| routed.succeeded == success.route.succeeded)
                        && !registry.address.same_host(&success.route.address)
                });
                PullSecretView { name: PULL_SECRET, has_login: registry.has_login && !moved }
            }),
            considered,
            pushes,
        })
    }
}

const DECISIONS: [&str; 6] =
    ["routed", "destination", "foreign", "never-compiled", "never-pushed", "registries-deleted"];

fn word(decision: &Decision) -> &'static str {
    let [routed, destination, foreign, never_compiled, never_pushed, registries_deleted] = DECISIONS;
    match decision {
        Decision::Routed(_) => routed,
        Decision::Destination { .. } => destination,
        Decision::Foreign => foreign,
        Decision::Unrouted(NoRoute::NeverCompiled) => never_compiled,
        Decision::Unrouted(NoRoute::NeverPushed) => never_pushed,
        Decision::Unrouted(NoRoute::RegistriesDeleted) => registries_deleted,
    }
}

fn decisions() -> utoipa::openapi::schema::Object {
    super::words(DECISIONS.into_iter())
}

/// A registry's name, and whether it exists.
type Names = HashMap<RegistryId, (Option<String>, bool)>;

fn name(fact: &Fact) -> Option<(RegistryId, (Option<String>, bool))> {
    match fact {
        Fact::Registry { id, name, live } => Some((*id, (name.clone(), *live))),
        _ => None,
    }
}

impl SuccessView {
    fn new(success: &Success, routed: Option<&Routed>, names: &Names) -> Result<Self, ReferenceError> {
        let route = &success.route;
        let (registry_name, live) = names.get(&route.registry).cloned().unwrap_or_default();
        Ok(Self {
            registry_id: route.registry.0,
            registry_name,
            registry_deleted: !live,
            decided: routed.is_some_and(|routed| {
                (routed.registry.id, routed.succeeded) == (route.registry, route.succeeded)
            }),
            image: route.address.reference(&success.repository, &route.tag)?,
            digest: success.digest.to_string(),
            succeeded_at: moment(route.succeeded_at),
            revision: route.succeeded.0,
        })
    }
}

impl UnfinishedView {
    fn new(push: PushRecord, names: &Names) -> Self {
        let (name, _) = names.get(&push.registry).cloned().unwrap_or_default();
        let registry = RegistryName { id: push.registry, name: name.clone() };
        let message = push.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let sentence = match (push.status, push.reason) {
            (PushStatus::Pending, None) => format!("the push to {registry} is due{message}"),
            (PushStatus::Pending, Some(_)) => format!("the push to {registry} waits{message}"),
            (PushStatus::InProgress, _) => format!("the push to {registry} is under way"),
            (PushStatus::Failed, Some(reason)) => {
                format!("the push to {registry} failed ({reason}){message}")
            }
            (PushStatus::Failed | PushStatus::Succeeded, _) => {
                format!("the push to {registry} is {}{message}", push.status)
            }
        };
        Self { sentence, registry_name: name, status: push.into() }
    }
}

const EXAMPLE_IMAGE: &str = "registry.platform.example:5000/algorithms/ann/echo:latest";
const EXAMPLE_REGISTRY: &str = "b1a1f4a0-6f4e-4f0c-9d0e-0a6a3f1c7d11";
const EXAMPLE_DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// An example of an image with a route.
pub(crate) fn routed_example() -> Value {
    let pulled_as =
        "algorithmiainfra.jfrog.io/dockerhub/algorithms/ann/echo:5fe3a2c6a1d2b8e94d0c7f61b3a9e8d7c6b5a493";
    let push = json!({
        "registry_id": EXAMPLE_REGISTRY, "registry_name": "jfrog", "registry_deleted": false, "decided": true,
        "image": pulled_as, "digest": EXAMPLE_DIGEST, "succeeded_at": "2021-10-05T18:22:03.123Z", "revision": 42,
    });
    json!({
        "sentence": format!("{EXAMPLE_IMAGE} is pulled as {pulled_as}, as last pushed to registry jfrog ({EXAMPLE_REGISTRY}) at revision 42"),
        "image": EXAMPLE_IMAGE, "decision": "routed", "pulled_as": pulled_as, "behind": false, "push": push,
        "pull_secret": {"name": PULL_SECRET, "has_login": true}, "considered": [push], "pushes": [],
    })
}

/// An example of an image whose push waits.
pub(crate) fn waiting_example() -> Value {
    let message = "the registry cannot be reached: connection refused";
    let push = json!({
        "sentence": format!("the push to registry jfrog ({EXAMPLE_REGISTRY}) waits: {message}"),
        "registry_name": "jfrog", "registry_id": EXAMPLE_REGISTRY, "status": "pending",
        "status_message": message, "updated_at": "2021-10-05T18:22:03.123Z", "reason": "destination_unreachable",
        "attempts": 0, "bytes_done": 0, "bytes_total": 0, "digest": EXAMPLE_DIGEST,
        "image": "algorithmiainfra.jfrog.io/dockerhub/algorithms/ann/echo:5fe3a2c6a1d2b8e94d0c7f61b3a9e8d7c6b5a493",
    });
    json!({
        "sentence": format!("{EXAMPLE_IMAGE} was compiled, but no push of it has succeeded yet"),
        "image": EXAMPLE_IMAGE, "decision": "never-pushed", "pulled_as": null, "behind": false, "push": null,
        "pull_secret": null, "considered": [], "pushes": [push],
    })
}
