//! `/v1/algorithms`: made, shown, changed and removed by their owner.

use axum::Json;
use axum::extract::State;
use domain::algorithm::AlgorithmName;
use http::StatusCode;
use store::{Algorithm, Store, Version};
use uuid::Uuid;

use crate::address::{Managed, ManagedOwner, Operated};
use crate::body::Required;
use crate::document;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::views::algorithm::{AlgorithmView, ChangeBody, CreateBody};

/// Makes an algorithm.
#[utoipa::path(post, path = "/v1/algorithms/{algorithm}", tag = "algorithms", request_body = CreateBody,
    params(("algorithm" = String, Path, description = "The username of the owner")),
    responses((status = 201, description = "The algorithm", body = AlgorithmView), Refusals))]
pub(crate) async fn create(
    State(store): State<Store>,
    ManagedOwner(owner): ManagedOwner,
    Required(body): Required<CreateBody>,
) -> Result<(StatusCode, Json<AlgorithmView>), ApiError> {
    let name: AlgorithmName =
        body.name.0.parse().map_err(|error| ApiError::Invalid(format!("`name`: {error}")))?;
    let algorithm = store.create_algorithm(owner, name, body.document()?).await?;
    tracing::info!(algorithm.id = %algorithm.uuid, "made an algorithm");
    Ok((StatusCode::CREATED, Json(AlgorithmView::new(&algorithm))))
}

/// Shows an algorithm with its newest version.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}", tag = "algorithms",
    responses((status = 200, description = "The algorithm", body = AlgorithmView), Refusals))]
pub(crate) async fn show(
    State(store): State<Store>,
    Operated(algorithm): Operated,
) -> Result<Json<AlgorithmView>, ApiError> {
    shown(&store, &algorithm).await
}

/// Changes details and settings; what is not named stays as it is.
#[utoipa::path(put, path = "/v1/algorithms/{algorithm}", tag = "algorithms", request_body = ChangeBody,
    responses((status = 200, description = "The algorithm", body = AlgorithmView), Refusals))]
pub(crate) async fn change(
    State(store): State<Store>,
    Managed(algorithm): Managed,
    Required(body): Required<ChangeBody>,
) -> Result<Json<AlgorithmView>, ApiError> {
    let change = body.document()?;
    document::check_changed(&algorithm.document, &change)?;
    let changed = store.update_algorithm(algorithm.uuid, change).await?;
    shown(&store, &changed.ok_or(ApiError::AlgorithmUnknown)?).await
}

/// Removes an algorithm. Its images keep their routes, since pods may run them.
#[utoipa::path(delete, path = "/v1/algorithms/{algorithm}", tag = "algorithms",
    responses((status = 204, description = "Removed"), Refusals))]
pub(crate) async fn remove(
    State(store): State<Store>,
    Managed(algorithm): Managed,
) -> Result<StatusCode, ApiError> {
    if !store.remove_algorithm(algorithm.uuid).await? {
        return Err(ApiError::AlgorithmUnknown);
    }
    tracing::info!(algorithm.id = %algorithm.uuid, "removed an algorithm");
    Ok(StatusCode::NO_CONTENT)
}

async fn shown(store: &Store, algorithm: &Algorithm) -> Result<Json<AlgorithmView>, ApiError> {
    Ok(Json(match store.latest_version(algorithm.uuid).await? {
        None => AlgorithmView::new(algorithm),
        Some(version) => {
            let log = log_of(store, algorithm.uuid, &version).await?;
            AlgorithmView::with_version(algorithm, version, log)
        }
    }))
}

/// What the newest build of a version had to say.
pub(crate) async fn log_of(
    store: &Store,
    algorithm: Uuid,
    version: &Version,
) -> Result<Option<String>, ApiError> {
    Ok(store.build_log(algorithm, version.build.uuid).await?)
}
