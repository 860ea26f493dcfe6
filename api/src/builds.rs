//! `.../builds`: what the compiles of an algorithm found, and what they had to say.

use axum::Json;
use axum::extract::State;
use store::Store;

use crate::address::{Operated, Params};
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::paging::QueryValues;
use crate::views::build::{BuildView, LogsView};
use crate::views::page::Page;

/// Lists the builds, newest first.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/builds", tag = "builds",
    params(("limit" = Option<u32>, Query), ("marker" = Option<String>, Query)),
    responses((status = 200, description = "One page", body = Page<BuildView>), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    query: QueryValues,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let found = store.builds(algorithm.uuid, query.page()?).await?;
    Ok(Json(query.answer(found, |build| build.uuid, Into::into)?))
}

/// Shows one build.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/builds/{build}", tag = "builds",
    params(("build" = Uuid, Path)),
    responses((status = 200, description = "The build", body = BuildView), Refusals))]
pub(crate) async fn show(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    params: Params,
) -> Result<Json<BuildView>, ApiError> {
    let id = params.build().ok_or(ApiError::BuildUnknown)?;
    let build = store.build(algorithm.uuid, id).await?.ok_or(ApiError::BuildUnknown)?;
    Ok(Json(build.into()))
}

/// Shows what one build had to say.
#[utoipa::path(get, path = "/v1/algorithms/{algorithm}/builds/{build}/logs", tag = "builds",
    params(("build" = Uuid, Path)),
    responses((status = 200, description = "Its log", body = LogsView), Refusals))]
pub(crate) async fn logs(
    State(store): State<Store>,
    Operated(algorithm): Operated,
    params: Params,
) -> Result<Json<LogsView>, ApiError> {
    let id = params.build().ok_or(ApiError::LogsUnknown)?;
    let logs = store.build_log(algorithm.uuid, id).await?.ok_or(ApiError::LogsUnknown)?;
    Ok(Json(LogsView { logs }))
}
