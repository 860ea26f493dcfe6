//! Running pods on the wire, as an auditor saw them.

use serde::Serialize;
use store::{Audit, AuditedImage, AuditedPod, PodName, Recreator};
use utoipa::ToSchema;
use uuid::Uuid;

use super::explanation::ImageExplanationView;
use super::moment;
use super::page::Page;

/// Running pods that name an image which is known.
#[derive(Serialize, ToSchema)]
#[schema(as = Pods)]
pub(crate) struct PodsView {
    /// When an auditor last saw the cluster; `null` when none ever has.
    #[schema(format = DateTime)]
    as_of: Option<String>,
    #[serde(flatten)]
    page: Page<PodView>,
    /// Controllers that within ten minutes created at least five routed pods, none of which lived for a
    /// minute; each stays for an hour.
    recreating_owners: Vec<RecreatorView>,
}

impl PodsView {
    pub(crate) fn new(audit: Audit<Page<PodView>>, recreators: Vec<Recreator>) -> Self {
        Self {
            as_of: audit.seen_at.map(moment),
            page: audit.found,
            recreating_owners: recreators.into_iter().map(Into::into).collect(),
        }
    }
}

/// One running pod.
#[derive(Serialize, ToSchema)]
#[schema(as = Pod)]
pub(crate) struct PodView {
    namespace: String,
    name: String,
    uid: Uuid,
    /// Kind and name of its controller.
    owner: Option<String>,
    /// `routed`, `unrouted` or `stray`: the worst state of its images.
    state: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    /// Those that are known; others are none of our business.
    images: Vec<PodImageView>,
}

/// One image of a running pod.
#[derive(Serialize, ToSchema)]
#[schema(as = PodImage)]
pub(crate) struct PodImageView {
    /// The container's name, or `volume/NAME`.
    entry: String,
    /// What it runs.
    image: String,
    /// What the pod asked for before it was routed.
    asked_for: Option<String>,
    /// `routed` (it runs from where its route says, or names a destination itself), `unrouted` (a source
    /// image without a route) or `stray` (from elsewhere, although there is a route).
    state: &'static str,
    /// The registry that it runs from, where that is a known one.
    registry_id: Option<Uuid>,
    /// Why, in words.
    sentence: String,
}

/// A controller that keeps creating pods anew, each of which was routed: it probably compares their images
/// with those that it asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = RecreatingOwner)]
struct RecreatorView {
    namespace: String,
    /// Its kind and name.
    owner: String,
    /// Within ten minutes.
    pods: u64,
    /// When that was last found.
    #[schema(format = DateTime)]
    last_seen_at: String,
}

/// Why a pod runs from where it runs.
#[derive(Serialize, ToSchema)]
#[schema(as = PodExplanation)]
pub(crate) struct PodExplanationView {
    /// In words.
    sentence: String,
    /// When an auditor last saw the cluster; `null` when none ever has.
    #[schema(format = DateTime)]
    as_of: Option<String>,
    /// The pod, if it runs and names a known image.
    pod: Option<PodView>,
    /// What each image that it asked for would be pulled as now, in the order of the pod's.
    images: Vec<ImageExplanationView>,
}

impl PodExplanationView {
    pub(crate) fn new(
        name: &PodName,
        audit: Audit<Option<AuditedPod>>,
        images: Vec<ImageExplanationView>,
    ) -> Self {
        let PodName { namespace, name } = name;
        let sentence = match (&audit.found, audit.seen_at) {
            (Some(pod), _) => {
                let of_image = |image: &AuditedImage| format!("{}: {}", image.entry, image.why);
                pod.images.iter().map(of_image).collect::<Vec<_>>().join(". ")
            }
            (None, Some(_)) => format!(
                "{namespace}/{name} does not run, or has no image of a compiled algorithm and none in a registry: nothing of it is routed"
            ),
            (None, None) => format!(
                "nothing is known of {namespace}/{name}: no drayage-syncer with --kubernetes has looked at the cluster yet"
            ),
        };
        Self { sentence, as_of: audit.seen_at.map(moment), pod: audit.found.map(Into::into), images }
    }
}

impl From<AuditedPod> for PodView {
    fn from(pod: AuditedPod) -> Self {
        Self {
            uid: pod.uid,
            state: pod.state().as_str(),
            owner: pod.owner,
            created_at: moment(pod.created_at),
            images: pod.images.into_iter().map(Into::into).collect(),
            namespace: pod.name.namespace,
            name: pod.name.name,
        }
    }
}

impl From<AuditedImage> for PodImageView {
    fn from(image: AuditedImage) -> Self {
        let AuditedImage { entry, image, asked, state, registry, why } = image;
        Self {
            entry,
            image,
            asked_for: asked,
            state: state.as_str(),
            registry_id: registry.map(|id| id.0),
            sentence: why,
        }
    }
}

impl From<Recreator> for RecreatorView {
    fn from(recreator: Recreator) -> Self {
        let Recreator { namespace, owner, pods, seen_at } = recreator;
        Self { namespace, owner, pods, last_seen_at: moment(seen_at) }
    }
}
