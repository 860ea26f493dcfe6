//! `.../compile`: looks for the image that was built, records the build and its version, and asks for a
//! push where the body says so. A repeat finds the same digest and so the same version.

use axum::Json;
use axum::extract::State;
use domain::Timestamp;
use domain::reference::Tag;
use store::NewBuild;

use crate::address::Managed;
use crate::body::Optional;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::pushes;
use crate::router::Api;
use crate::views::algorithm::AlgorithmView;
use crate::views::build::CompileBody;

/// Finds the built image in the source registry, and pushes it where that is asked.
///
/// An image that is not there is a failed build: 200 with `build.status` `failed` and the reason in
/// `compilation.output`.
#[utoipa::path(post, path = "/v1/algorithms/{algorithm}/compile", tag = "builds",
    request_body = Option<CompileBody>,
    responses((status = 200, description = "The algorithm with its build", body = AlgorithmView), Refusals))]
pub(crate) async fn compile(
    State(Api { store, source, .. }): State<Api>,
    Managed(algorithm): Managed,
    Optional(body): Optional<CompileBody>,
) -> Result<Json<AlgorithmView>, ApiError> {
    let push = pushes::requested(body.registry_push_credentials)?;
    let commit: Option<Tag> = body
        .commit_sha
        .map(|commit| commit.0.parse())
        .transpose()
        .map_err(|error| ApiError::Invalid(format!("`commitSha`: {error}")))?;
    pushes::check(&store, push.as_ref()).await?;

    let started_at = Timestamp::now();
    let look = source.look(&algorithm, commit.as_ref()).await;
    let log = look.log.clone();
    let build =
        NewBuild { algorithm: algorithm.uuid, commit, image: look.image, log: look.log, started_at, push };
    let recorded = store.record_build(build).await?;
    let succeeded = recorded.version.is_some();
    tracing::info!(algorithm.id = %algorithm.uuid, build.id = %recorded.build.uuid, succeeded, "compiled");
    Ok(Json(match recorded.version {
        Some(version) => AlgorithmView::with_version(&algorithm, version, Some(log)),
        None => AlgorithmView::with_build(&algorithm, recorded.build, Some(log)),
    }))
}
