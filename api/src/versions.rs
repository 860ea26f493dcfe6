//! `.../versions` and `.../version`: the newest build is published under a number; versions are listed
//! and shown.

use axum::Json;
use axum::extract::State;
use domain::version;
use store::{Publication, Store, VersionFilter};

use crate::address::{Managed, Operated, Params};
use crate::algorithms::log_of;
use crate::body::Optional;
use crate::document;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::paging::QueryValues;
use crate::pushes;
use crate::views::algorithm::{AlgorithmView, PublishBody, VersionType};
use crate::views::page::Page;

/// Publishes the newest successful build, and pushes its image where that is asked.
#[utoipa::path(post, path = "/v1/algorithms/{algorithm}/versions", tag = "versions",
    request_body = Option<PublishBody>,
    responses((status = 200, description = "The algorithm at its new version", body = AlgorithmView), Refusals))]
pub(crate) async fn publish(
    State(store): State<Store>,
    Managed(algorithm): Managed,
    Optional(mut body): Optional<PublishBody>,
) -> Result<Json<AlgorithmView>, ApiError> {
    let push = pushes::requested(body.registry_push_credentials.take())?;
    let raise = body.version_info.as_ref().and_then(|info| info.version_type).unwrap_or_default();
    let document = body.document()?;
    // What is said of the algorithm holds from now on; what is said of the version stays with it.
    let algorithm_change = document::without_section(&document, "version_info");
    document::check_changed(&algorithm.document, &algorithm_change)?;
    let raise = raise.into();
    let publication = Publication { algorithm: algorithm.uuid, raise, document, algorithm_change, push };
    let version = store.publish(publication).await?;
    tracing::info!(algorithm.id = %algorithm.uuid, version.hash = %version.hash, "published a version");
    let log = log_of(&store, algorithm.uuid, &version).await?;
    Ok(Json(AlgorithmView::at_version(&algorithm, version, log)))
}

impl From<VersionType> for version::VersionType {
    fn from(raise: VersionType) -> Self {
        match raise {
            VersionType::Major => Self::Major,
            VersionType::Minor => Self::Minor,
            VersionType::Revision => Self::Revision,
        }
    }
}

/// Lists the versions, newest first.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/versions", tag = "versions",
    params(("limit" = Option<u32>, Query), ("marker" = Option<String>, Query),
        ("published" = Option<bool>, Query), ("callable" = Option<bool>, Query)),
    responses((status = 200, description = "One page", body = Page<AlgorithmView>), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    query: QueryValues,
) -> Result<Json<Page<AlgorithmView>>, ApiError> {
    let filter = VersionFilter { published: query.flag("published")? };
    // A version has an image, so it can be called.
    let callable = query.flag("callable")?.unwrap_or(true);
    let found = store.versions(algorithm.uuid, filter, query.page()?).await?;
    let found = if callable { found } else { found.map(|_| Vec::new()) };
    let view = |version| AlgorithmView::at_version(&algorithm, version, None);
    Ok(Json(query.answer(found, |version| version.uuid, view)?))
}

/// Shows an algorithm at one of its versions.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/versions/{hash}", tag = "versions",
    params(("hash" = String, Path)),
    responses((status = 200, description = "The algorithm at that version", body = AlgorithmView), Refusals))]
pub(crate) async fn show(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    params: Params,
) -> Result<Json<AlgorithmView>, ApiError> {
    let version = store.version(algorithm.uuid, params.version()?).await?.ok_or(ApiError::VersionUnknown)?;
    let log = log_of(&store, algorithm.uuid, &version).await?;
    Ok(Json(AlgorithmView::at_version(&algorithm, version, log)))
}
