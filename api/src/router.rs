//! The table of routes: which handler answers which path. Every algorithm's path is there twice, by
//! `{algorithm}` (a UUID) and by `{owner}/{name}`; a username can never look like a UUID.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use store::Store;

use crate::error::ApiError;
use crate::explain::PodRegistries;
use crate::requests::{self, RequestMetrics};
use crate::routes::Routes;
use crate::source::Source;
use crate::{
    algorithms, builds, compile, explain, keys, openapi, pods, pushes, registries, routes, versions,
};

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) source: Arc<Source>,
    pub(crate) routes: Routes,
    pub(crate) pod_registries: PodRegistries,
}

impl FromRef<Api> for Store {
    fn from_ref(api: &Api) -> Self {
        api.store.clone()
    }
}

impl FromRef<Api> for Routes {
    fn from_ref(api: &Api) -> Self {
        api.routes.clone()
    }
}

impl FromRef<Api> for PodRegistries {
    fn from_ref(api: &Api) -> Self {
        api.pod_registries.clone()
    }
}

/// Every route, surrounded by what each request needs.
pub(crate) fn router(api: Api, metrics: RequestMetrics) -> Router {
    let one_registry =
        get(registries::show).put(registries::replace).patch(registries::cordon).delete(registries::delete);
    let one_algorithm = || get(algorithms::show).put(algorithms::change).delete(algorithms::remove);
    let routes = Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/v1/openapispec", get(openapi::document))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/routes", get(routes::list))
        .route("/v1/pods", get(pods::list))
        .route("/v1/registries", get(registries::list).post(registries::create))
        .route("/v1/registries/{registry}", one_registry)
        .route("/v1/users/{username}/keys", get(keys::list).post(keys::create))
        .route("/v1/users/{username}/keys/{mask}", delete(keys::revoke))
        // One segment is an algorithm's id, or the owner of one to be made.
        .route("/v1/algorithms/{algorithm}", one_algorithm().post(algorithms::create))
        .route("/v1/algorithms/{owner}/{name}", one_algorithm());
    let routes = both(routes, "/compile", post(compile::compile));
    let routes = both(routes, "/version", post(versions::publish));
    let routes = both(routes, "/versions", get(versions::list).post(versions::publish));
    let routes = both(routes, "/versions/{hash}", get(versions::show));
    let routes = both(routes, "/versions/{hash}/registry", get(pushes::list).post(pushes::again));
    let routes = both(routes, "/builds", get(builds::list));
    let routes = both(routes, "/builds/{build}", get(builds::show));
    let routes = both(routes, "/builds/{build}/logs", get(builds::logs));
    routes
        .fallback(async || ApiError::RouteUnknown)
        .with_state(api)
        .layer(middleware::from_fn_with_state(metrics, requests::surround))
}

fn both(routes: Router<Api>, below: &str, handlers: MethodRouter<Api>) -> Router<Api> {
    routes
        .route(&format!("/v1/algorithms/{{algorithm}}{below}"), handlers.clone())
        .route(&format!("/v1/algorithms/{{owner}}/{{name}}{below}"), handlers)
}
