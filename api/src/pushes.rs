//! `.../versions/{hash}/registry`: the pushes of a version, and how one is asked for again. Also reads
//! the `registry_push_credentials` of compile and publish.

use axum::Json;
use axum::extract::State;
use domain::registry::RegistryId;
use http::StatusCode;
use store::{PushRequest, Store};

use crate::address::{self, Operated, Params};
use crate::body::Optional;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::registries;
use crate::views::push::{PushAgainBody, PushCredentials, PushStatusView};

/// The push that a credentials object asks for; `{}` asks for none.
pub(crate) fn requested(credentials: Option<PushCredentials>) -> Result<Option<PushRequest>, ApiError> {
    let PushCredentials { registry_id, registry_username, registry_password } =
        credentials.unwrap_or_default();
    let login = registries::login(
        registry_username.map(|username| username.0).unwrap_or_default(),
        registry_password.map(|password| password.0).unwrap_or_default(),
    )?;
    let id = registry_id.map(|id| id.0).unwrap_or_default();
    match (id.is_empty(), login) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err(ApiError::Invalid("`registry_id` is missing".to_owned())),
        (false, login) => {
            let id = address::uuid(&id).ok_or(ApiError::RegistryNamedUnknown)?;
            Ok(Some(PushRequest { registry: RegistryId(id), login }))
        }
    }
}

/// Refuses a push to a registry that takes none, before anything is done for it. The store refuses it
/// once more in the transaction that would record it.
pub(crate) async fn check(store: &Store, push: Option<&PushRequest>) -> Result<(), ApiError> {
    let Some(push) = push else { return Ok(()) };
    match store.registry(push.registry).await? {
        None => Err(ApiError::RegistryNamedUnknown),
        Some(registry) if registry.cordoned_at.is_some() => Err(ApiError::RegistryCordoned),
        Some(_) => Ok(()),
    }
}

/// Pushes a version again.
///
/// The body is the credentials object, bare or wrapped, or nothing: then the registry of the version's
/// most recent push is meant, with its stored login. A push that runs is outdated by this one.
#[utoipa::path(post, path = "/v1/algorithms/{algorithm}/versions/{hash}/registry", tag = "pushes",
    request_body = Option<PushAgainBody>, params(("hash" = String, Path)),
    responses((status = 204, description = "The push is due"), Refusals))]
pub(crate) async fn again(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    params: Params,
    Optional(body): Optional<PushAgainBody>,
) -> Result<StatusCode, ApiError> {
    let hash = params.version()?;
    let push = requested(body.credentials())?;
    store.version(algorithm.uuid, hash.clone()).await?.ok_or(ApiError::VersionUnknown)?;
    let (registry, login) = match push {
        Some(push) => (Some(push.registry), push.login),
        None => (None, None),
    };
    store
        .request_push(algorithm.uuid, hash.clone(), registry, login)
        .await?
        .ok_or(ApiError::NothingToRepeat)??;
    tracing::info!(algorithm.id = %algorithm.uuid, version.hash = %hash, "a push was asked for again");
    Ok(StatusCode::NO_CONTENT)
}

/// Shows how far the pushes of a version are, the most recently asked first; one a registry.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/versions/{hash}/registry", tag = "pushes",
    params(("hash" = String, Path)),
    responses((status = 200, description = "At most one a registry", body = [PushStatusView]), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    params: Params,
) -> Result<Json<Vec<PushStatusView>>, ApiError> {
    let hash = params.version()?;
    store.version(algorithm.uuid, hash.clone()).await?.ok_or(ApiError::VersionUnknown)?;
    let pushes = store.push_records(algorithm.uuid, hash).await?;
    Ok(Json(pushes.into_iter().map(Into::into).collect()))
}
