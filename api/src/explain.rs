//! `GET /v1/explain`: from where an image is pulled and why. The decision is the admission's own code over
//! the facts about that one image. What is known of a pod is asked of `pods`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::access::{Caller, Role};
use domain::algorithm::Username;
use domain::reference::Reference;
use domain::registry::Address;
use routing::{Decision, Table};
use store::{PodName, Store};

use crate::authentication::{Known, NoRandomBytes};
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::paging::QueryValues;
use crate::pods;
use crate::views::explanation::{self, ExplanationView, ImageExplanationView};

/// The longest reference: a name of 255 characters, a tag of 128, a digest of 135, and what divides them.
const REFERENCE_LIMIT: usize = 520;

/// Other names by which pods call the source registry, as the webhook knows them.
#[derive(Clone)]
pub(crate) struct PodRegistries(pub(crate) Arc<[Address]>);

/// Explains from where an image is pulled, by which push, and what else was considered; or why a pod runs
/// from where it runs.
///
/// `sentence` is, word for word, what an admission says in its warning and its audit annotation. An owner
/// may ask about images of their own algorithms, an administrator about all images and about pods.
#[utoipa::path(get, path = "/v1/explain", tag = "explain",
    params(("image" = Option<String>, Query, description = "The image as a pod names it, by tag, by digest or by both",
            example = "registry.platform.example:5000/algorithms/ann/echo:latest"),
        ("namespace" = Option<String>, Query, description = "Instead of `image`: the pod's namespace"),
        ("pod" = Option<String>, Query, description = "With `namespace`: its name")),
    responses((status = 200, description = "The decision, and what it rests on", body = ExplanationView,
        examples(
            ("routed" = (value = json!(explanation::routed_example()))),
            ("never pushed" = (value = json!(explanation::waiting_example()))),
        )), Refusals))]
pub(crate) async fn explain(
    State(store): State<Store>,
    State(pod_registries): State<PodRegistries>,
    Known(caller): Known,
    query: QueryValues,
) -> Result<Json<ExplanationView>, ApiError> {
    let explained = match (query.text("image"), query.text("namespace"), query.text("pod")) {
        (Some(image), None, None) => {
            let of = whose(caller)?;
            ExplanationView::Image(Box::new(
                image_explained(&store, &pod_registries.0, image.trim(), of).await?,
            ))
        }
        (None, Some(namespace), Some(name)) if !namespace.is_empty() && !name.is_empty() => {
            if !caller.is_admin() {
                return Err(ApiError::Forbidden("this takes an admin key"));
            }
            let pod = PodName { namespace: namespace.to_owned(), name: name.to_owned() };
            ExplanationView::Pod(Box::new(pods::explain(&store, &pod_registries.0, pod).await?))
        }
        _ => return Err(ApiError::Invalid("give `image`, or else `namespace` and `pod`".to_owned())),
    };
    Ok(Json(explained))
}

/// Explains an image of this owner, or of anybody.
pub(crate) async fn image_explained(
    store: &Store,
    pod_registries: &[Address],
    image: &str,
    of: Option<Username>,
) -> Result<ImageExplanationView, ApiError> {
    let reference = reference(image)?;
    let evidence = store.evidence(&reference, of).await?.ok_or(ApiError::ImageUnknown)?;
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|_| ApiError::internal(NoRandomBytes))?;
    let mut table = Table::new(secret, pod_registries);
    evidence.facts.iter().for_each(|fact| table.apply(fact.clone()));
    let decision = table.decide(image);
    let registry = match &decision {
        Decision::Routed(routed) => store.registry(routed.registry.id).await?,
        Decision::Destination { registry } => store.registry(registry.id).await?,
        Decision::Foreign | Decision::Unrouted(_) => None,
    };
    ImageExplanationView::new(image, &decision, registry.as_ref(), evidence).map_err(ApiError::internal)
}

/// Whose images the caller may ask about; everybody's is `None`.
fn whose(caller: Caller) -> Result<Option<Username>, ApiError> {
    match (caller.role, caller.username) {
        (Role::Admin, _) => Ok(None),
        (Role::Standard, Some(owner)) => Ok(Some(owner)),
        (Role::Standard | Role::RouteReader, _) => {
            Err(ApiError::Forbidden("this takes an admin or a standard key"))
        }
    }
}

fn reference(image: &str) -> Result<Reference<'_>, ApiError> {
    let refused = |why: &str| Err(ApiError::Invalid(format!("`image`: {why}")));
    match Reference::parse(image) {
        _ if image.is_empty() => refused("give the image as a pod names it, e.g. host/repository:tag"),
        _ if image.len() > REFERENCE_LIMIT => refused("it is longer than a reference may be"),
        _ if image.contains("://") => refused("a reference has no scheme; leave `…://` away"),
        Ok(reference) => Ok(reference),
        Err(error) => refused(&error.to_string()),
    }
}
