//! `/v1/users/{username}/keys`: administrators make, list and revoke keys. Keys that lie in files are
//! `key_files`'.

use axum::Json;
use axum::extract::State;
use domain::algorithm::Username;
use http::StatusCode;
use store::{NewKey, Store};

use crate::address::Params;
use crate::authentication::{Admin, ApiKey};
use crate::body::Optional;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::views::key::{KeyBody, KeyView};

/// Makes a key, which is shown this once. A username comes into being with its first key.
#[utoipa::path(post, path = "/v1/users/{username}/keys", tag = "keys", request_body = Option<KeyBody>,
    params(("username" = String, Path)),
    responses((status = 200, description = "The key", body = KeyView), Refusals))]
pub(crate) async fn create(
    State(store): State<Store>,
    _: Admin,
    params: Params,
    Optional(body): Optional<KeyBody>,
) -> Result<Json<KeyView>, ApiError> {
    let username =
        params.text("username").parse().map_err(|error| ApiError::Invalid(format!("`username`: {error}")))?;
    let secret = ApiKey::random()?;
    let key = NewKey {
        role: body.key_type.unwrap_or_default().into(),
        username,
        label: body.key_label.map(|label| label.0).filter(|label| !label.is_empty()),
        hash: secret.hash(),
        mask: secret.mask(),
    };
    let key = store.create_key(key).await?;
    tracing::info!(key.username = %key.username, key.role = key.role.as_str(), "made a key");
    Ok(Json(KeyView::made(key, secret.reveal().to_owned())))
}

/// Lists a user's keys that are in force, newest first.
#[utoipa::path(get, path = "/v1/users/{username}/keys", tag = "keys",
    params(("username" = String, Path)),
    responses((status = 200, description = "All of them", body = [KeyView]), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    _: Admin,
    params: Params,
) -> Result<Json<Vec<KeyView>>, ApiError> {
    let keys = store.keys(username(&params)?).await?.ok_or(ApiError::UserUnknown)?;
    Ok(Json(keys.into_iter().map(Into::into).collect()))
}

/// Revokes a key, at once.
#[utoipa::path(delete, path = "/v1/users/{username}/keys/{mask}", tag = "keys",
    params(("username" = String, Path), ("mask" = String, Path)),
    responses((status = 204, description = "Revoked"), Refusals))]
pub(crate) async fn revoke(
    State(store): State<Store>,
    _: Admin,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let username = username(&params)?;
    if !store.revoke_key(username.clone(), params.text("mask").to_owned()).await? {
        return Err(ApiError::KeyUnknown);
    }
    tracing::info!(key.username = %username, "revoked a key");
    Ok(StatusCode::NO_CONTENT)
}

fn username(params: &Params) -> Result<Username, ApiError> {
    params.text("username").parse().map_err(|_| ApiError::UserUnknown)
}
