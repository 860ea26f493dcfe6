//! `/v1/registries`: administrators register enterprise registries, everybody who pushes lists them.

use axum::Json;
use axum::extract::State;
use domain::credentials::Credentials;
use domain::registry::Address;
use http::StatusCode;
use store::{LoginChange, NewRegistry, RegistryChange, Store};

use crate::address::Params;
use crate::authentication::{Admin, RegistryReader};
use crate::body::Required;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::paging::QueryValues;
use crate::views::registry::{CordonBody, DeletedView, RegistryBody, RegistryView};

/// Registers a registry.
#[utoipa::path(post, path = "/v1/registries", tag = "registries", request_body = RegistryBody,
    responses((status = 200, description = "The registry", body = RegistryView), Refusals))]
pub(crate) async fn create(
    State(store): State<Store>,
    _: Admin,
    Required(body): Required<RegistryBody>,
) -> Result<Json<RegistryView>, ApiError> {
    let address = address(&body)?;
    let login = match login_change(&body)? {
        LoginChange::Set(login) => Some(login),
        LoginChange::Keep | LoginChange::Clear => None,
    };
    let registry = store.create_registry(NewRegistry { address, name: name(&body), login }).await?;
    tracing::info!(registry.id = %registry.id, registry.url = %registry.address, "registered a registry");
    Ok(Json(registry.into()))
}

/// Lists the registries, oldest first.
#[utoipa::path(get, path = "/v1/registries", tag = "registries",
    responses((status = 200, description = "All of them", body = [RegistryView]), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    _: RegistryReader,
) -> Result<Json<Vec<RegistryView>>, ApiError> {
    Ok(Json(store.registries().await?.into_iter().map(Into::into).collect()))
}

/// Shows one registry.
#[utoipa::path(get, path = "/v1/registries/{registry}", tag = "registries",
    params(("registry" = Uuid, Path)),
    responses((status = 200, description = "The registry", body = RegistryView), Refusals))]
pub(crate) async fn show(
    State(store): State<Store>,
    _: RegistryReader,
    params: Params,
) -> Result<Json<RegistryView>, ApiError> {
    let registry = store.registry(params.registry()?).await?;
    registry.map(|registry| Json(registry.into())).ok_or(ApiError::RegistryUnknown)
}

/// Replaces a registry.
///
/// An omitted login is kept, and only while scheme, host and port stay; `""` clears it. Versions that were
/// pushed to the earlier address are pulled from there until their next successful push.
#[utoipa::path(put, path = "/v1/registries/{registry}", tag = "registries", request_body = RegistryBody,
    params(("registry" = Uuid, Path)),
    responses((status = 200, description = "The registry", body = RegistryView), Refusals))]
pub(crate) async fn replace(
    State(store): State<Store>,
    _: Admin,
    params: Params,
    Required(body): Required<RegistryBody>,
) -> Result<Json<RegistryView>, ApiError> {
    let id = params.registry()?;
    let change = RegistryChange { address: address(&body)?, name: name(&body), login: login_change(&body)? };
    let replaced = store.replace_registry(id, change).await?;
    tracing::info!(registry.id = %id, registry.url = %replaced.registry.address, "replaced a registry");
    Ok(Json(replaced.into()))
}

/// Keeps new pushes away from a registry, or lets them in again.
#[utoipa::path(patch, path = "/v1/registries/{registry}", tag = "registries", request_body = CordonBody,
    params(("registry" = Uuid, Path)),
    responses((status = 200, description = "The registry", body = RegistryView), Refusals))]
pub(crate) async fn cordon(
    State(store): State<Store>,
    _: Admin,
    params: Params,
    Required(CordonBody { cordoned }): Required<CordonBody>,
) -> Result<Json<RegistryView>, ApiError> {
    let id = params.registry()?;
    let registry = store.cordon_registry(id, cordoned).await?.ok_or(ApiError::RegistryUnknown)?;
    tracing::info!(registry.id = %id, cordoned, "cordoned a registry, or lifted that");
    Ok(Json(registry.into()))
}

/// Deletes a registry and tells what depended on it.
///
/// With `if_unused=true` a registry that something depends on stays, and the answer is 409.
#[utoipa::path(delete, path = "/v1/registries/{registry}", tag = "registries",
    params(("registry" = Uuid, Path), ("if_unused" = Option<bool>, Query)),
    responses((status = 200, description = "What depended on it", body = DeletedView), Refusals))]
pub(crate) async fn delete(
    State(store): State<Store>,
    _: Admin,
    params: Params,
    query: QueryValues,
) -> Result<(StatusCode, Json<DeletedView>), ApiError> {
    let id = params.registry()?;
    query.only(&["if_unused"])?;
    let if_unused = query.flag("if_unused")?.unwrap_or_default();
    let removed = store.remove_registry(id, if_unused).await?;
    tracing::info!(registry.id = %id, "deleted a registry");
    // A body, since an empty 200 crashes the Python client.
    Ok((StatusCode::OK, Json(DeletedView::new(id.0, removed.dependents))))
}

fn address(body: &RegistryBody) -> Result<Address, ApiError> {
    body.registry_url.0.parse().map_err(|error| ApiError::Invalid(format!("`registry_url`: {error}")))
}

fn name(body: &RegistryBody) -> Option<String> {
    body.name.as_ref().map(|name| name.0.clone()).filter(|name| !name.is_empty())
}

fn login_change(body: &RegistryBody) -> Result<LoginChange, ApiError> {
    let text = |part: Option<&String>| part.map(String::as_str).unwrap_or_default().to_owned();
    let username = body.registry_username.as_ref().map(|username| &username.0);
    let password = body.registry_password.as_ref().map(|password| &password.0);
    if username.is_none() && password.is_none() {
        return Ok(LoginChange::Keep);
    }
    Ok(match login(text(username), text(password))? {
        Some(login) => LoginChange::Set(login),
        None => LoginChange::Clear,
    })
}

/// A login of two parts, or none when both are empty.
pub(crate) fn login(username: String, password: String) -> Result<Option<Credentials>, ApiError> {
    let refused = |reason: &str| Err(ApiError::Invalid(reason.to_owned()));
    match (username.is_empty(), password.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => refused("`registry_username` is missing: a password does not go without it"),
        (false, true) => refused("`registry_password` is missing: a username does not go without it"),
        // Basic authentication divides the two at the first colon (RFC 7617, 2).
        (false, false) if username.contains(':') => refused("`registry_username` holds a `:`"),
        (false, false) => Ok(Some(Credentials::new(username, password))),
    }
}
