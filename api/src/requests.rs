//! What surrounds every request: an id, limits on headers and time, caught panics, the body of every
//! refusal, one line in the log and two metrics. Neither ever holds a credential, a query or a body.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::access::Caller;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tracing::{error, info};
use uuid::Uuid;

use crate::error::ApiError;
use crate::views::failure::FailureView;

/// How long a request may take, its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The largest headers, names and values together, in bytes.
const HEADERS_LIMIT: usize = 32 << 10;
/// How much of a path the log shows, in characters.
const PATH_SHOWN: usize = 200;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The label of a request that no route is for, so that paths never become labels.
const NO_ROUTE: &str = "none";

/// The metrics of the requests.
#[derive(Clone)]
pub(crate) struct RequestMetrics {
    total: IntCounterVec,
    duration: HistogramVec,
}

impl RequestMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let labels = ["route", "method", "status"];
        let total =
            IntCounterVec::new(Opts::new("drayage_http_requests_total", "Requests answered"), &labels)?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "drayage_http_request_duration_seconds",
                "From a request's head to its answer",
            ),
            &labels,
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { total, duration })
    }

    fn observe(&self, route: &str, method: &str, status: StatusCode, took: Duration) {
        let labels = [route, method, status.as_str()];
        self.total.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

/// Answers a request, whatever becomes of it.
pub(crate) async fn surround(
    State(metrics): State<RequestMetrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = Uuid::new_v4();
    let caller = CallerNote::default();
    request.extensions_mut().insert(caller.clone());
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    // What no route is for may hold anything.
    let path: String = match route {
        NO_ROUTE => String::new(),
        _ => request.uri().path().chars().take(PATH_SHOWN).collect(),
    };

    let mut response = if headers_size(request.headers()) > HEADERS_LIMIT {
        ApiError::HeadersTooLarge(HEADERS_LIMIT).into_response()
    } else {
        // Nothing of a request outlives it but what it committed, so a panic leaves nothing half done.
        let answer = AssertUnwindSafe(tokio::time::timeout(TIME_LIMIT, next.run(request))).catch_unwind();
        match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => ApiError::TimedOut.into_response(),
            Err(_) => ApiError::internal(Panicked).into_response(),
        }
    };
    if !response.status().is_success() {
        response = refusal(id, response);
    }
    let id_text = id.to_string();
    if let Ok(id) = HeaderValue::from_str(&id_text) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));

    let (status, took) = (response.status(), started.elapsed());
    metrics.observe(route, method, status, took);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let caller = caller.name();
    info!(
        method,
        route,
        path,
        caller,
        status = status.as_u16(),
        duration_ms,
        request.id = id_text,
        "answered"
    );
    response
}

/// Who called, told by authentication to the line in the log.
#[derive(Clone, Default)]
pub(crate) struct CallerNote(Arc<OnceLock<String>>);

impl CallerNote {
    /// Notes the holder of the request's key.
    pub(crate) fn set(&self, caller: &Caller) {
        let name = caller.username.as_ref().map_or(caller.role.as_str(), |username| username.as_str());
        // A second look at the same key says the same.
        let _ = self.0.set(name.to_owned());
    }

    fn name(&self) -> &str {
        self.0.get().map_or("nobody", String::as_str)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked; the line of the panic stands above")]
struct Panicked;

/// The refusal in JSON, whatever the request accepts. Headers such as Allow stay.
fn refusal(id: Uuid, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let error = parts.extensions.remove::<Arc<ApiError>>().unwrap_or_else(|| {
        // axum's own, without a body of ours.
        Arc::new(match parts.status {
            StatusCode::NOT_FOUND => ApiError::RouteUnknown,
            StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
            status if status.is_client_error() => ApiError::Unintelligible(status),
            status => ApiError::internal(anyhow::anyhow!("axum answered {status}")),
        })
    });
    if let ApiError::Internal(cause) = &*error {
        error!(request.id = %id, "a request failed: {cause:#}");
    } else if let ApiError::Busy(cause) | ApiError::DatabaseFull(cause) | ApiError::DatabaseGone(cause) =
        &*error
    {
        error!(request.id = %id, "a request failed: {cause:#}");
    }
    if matches!(*error, ApiError::Unauthenticated) {
        parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Simple"));
    }
    // Strings and numbers are always JSON.
    let body = serde_json::to_vec(&FailureView::new(id, &error)).unwrap_or_default();
    parts.status = error.status();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(body))
}

fn headers_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// A client may invent methods without end.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
