//! `/v1/pods`: what an auditor found of the running pods, for administrators; the same of one pod for
//! `explain`.

use axum::Json;
use axum::extract::State;
use domain::pod::PodState;
use domain::registry::Address;
use store::{Audit, PodName, Store};

use crate::authentication::Admin;
use crate::error::ApiError;
use crate::explain;
use crate::openapi::Refusals;
use crate::paging::QueryValues;
use crate::views::pod::{PodExplanationView, PodsView};

/// Lists the running pods that name a known image, by their uids.
#[utoipa::path(get, path = "/v1/pods", tag = "pods",
    params(("state" = Option<String>, Query, description = "`stray`, `routed` or `unrouted`; absent: all"),
           ("limit" = Option<u32>, Query), ("marker" = Option<String>, Query)),
    responses((status = 200, description = "One page", body = PodsView), Refusals))]
pub(crate) async fn list(
    State(store): State<Store>,
    _: Admin,
    query: QueryValues,
) -> Result<Json<PodsView>, ApiError> {
    let Audit { seen_at, found } = store.pods(query.word::<PodState>("state")?, query.page()?).await?;
    let found = query.answer(Some(found), |pod| pod.uid, Into::into)?;
    Ok(Json(PodsView::new(Audit { seen_at, found }, store.recreators().await?)))
}

/// Why one pod runs from where it runs, and what each image that it asked for would be pulled as now.
pub(crate) async fn explain(
    store: &Store,
    pod_registries: &[Address],
    name: PodName,
) -> Result<PodExplanationView, ApiError> {
    let audit = store.pod(name.clone()).await?;
    let mut images = Vec::new();
    for image in audit.found.iter().flat_map(|pod| &pod.images) {
        let asked = image.asked.as_ref().unwrap_or(&image.image);
        images.push(explain::image_explained(store, pod_registries, asked, None).await?);
    }
    Ok(PodExplanationView::new(&name, audit, images))
}
