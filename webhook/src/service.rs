//! HTTP around `admission`: POST /mutate and nothing else, with limits on the size, the time and the
//! memory of bodies. `run` serves it over TLS; the benchmark serves it with a table of its own.

mod throttle;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;
use routing::patch::{Outcome, Unrouted};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use self::throttle::Throttle;
use crate::admission::{self, Malformed};
use crate::follower::Routes;
use crate::metrics::AdmissionMetrics;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The longest review in bytes; the API server itself takes objects of 3 MiB, and sends two.
const BODY_LIMIT: usize = 8 << 20;
/// Bodies in memory at once, in KiB; more wait for those.
const BODIES_KIB: usize = 64 << 10;
/// From the headers to the end of the body, about the timeout of the webhook configuration.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Of a body that is too long, how much is still taken, and how long.
const DRAIN_LIMIT: usize = 64 << 20;
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers the API server. Clones share everything.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: Arc<Routes>,
    unrouted: Unrouted,
    metrics: AdmissionMetrics,
    bodies: Semaphore,
    remarks: Throttle,
}

/// Why a request is not admitted; each has its status and its text.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only /mutate is served here")]
    Path,
    #[error("only POST is served here")]
    Method,
    #[error("an AdmissionReview is application/json")]
    ContentType,
    #[error("the routes have not been read yet; /readyz on the admin address says why")]
    NoRoutes,
    #[error("an AdmissionReview is at most 8 MiB")]
    TooLarge,
    #[error("the body did not come within 3 s")]
    TooSlow,
    #[error("the body broke off")]
    Broken(#[source] Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Service {
    /// A service that admits by whichever table is in force.
    pub fn new(routes: Arc<Routes>, unrouted: Unrouted, metrics: AdmissionMetrics) -> Self {
        let bodies = Semaphore::new(BODIES_KIB);
        Self(Arc::new(Shared { routes, unrouted, metrics, bodies, remarks: Throttle::default() }))
    }

    /// Answers one request; it never fails.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Error>,
    {
        match self.0.mutate(request).await {
            Ok(review) => response(StatusCode::OK, JSON, review),
            Err(refusal) => self.0.refuse(&refusal),
        }
    }
}

impl Shared {
    async fn mutate<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Error>,
    {
        check(&request)?;
        // Before the body is read: without routes nothing in it could be answered.
        if self.routes.table().is_none() {
            return Err(Refusal::NoRoutes);
        }
        let read = tokio::time::timeout(READ_WITHIN, self.read(request.into_body()));
        let body = read.await.map_err(|_| Refusal::TooSlow)??;
        let table = self.routes.table();
        let Some(table) = &*table else { return Err(Refusal::NoRoutes) };

        let start = Instant::now();
        let review = admission::read(&body)?;
        let (answer, outcome) = admission::admit(&review, table, self.unrouted);
        let json = answer.to_json().map_err(Malformed::Json)?;
        self.metrics.admitted(outcome, start.elapsed());
        self.log(&review, &answer, outcome);
        Ok(json)
    }

    async fn read<B>(&self, body: B) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Error>,
    {
        let mut body = std::pin::pin!(body);
        // The declared length is what may come, so it is reserved before the first byte is taken.
        let expected = body.size_hint().upper().unwrap_or(BODY_LIMIT as u64);
        if expected > BODY_LIMIT as u64 {
            drain(body).await;
            return Err(Refusal::TooLarge);
        }
        let kib = u32::try_from(expected / 1024 + 1).map_err(|_| Refusal::TooLarge)?;
        let _reserved =
            self.bodies.acquire_many(kib).await.map_err(|closed| Refusal::Broken(closed.into()))?;
        match Limited::new(body.as_mut(), BODY_LIMIT).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                drain(body).await;
                Err(Refusal::TooLarge)
            }
            Err(error) => Err(Refusal::Broken(error)),
        }
    }

    fn log(&self, review: &admission::Request<'_>, answer: &admission::Answer<'_>, outcome: Outcome) {
        // Strings as they are: text logs quote and escape them, JSON logs write them as JSON does.
        let (namespace, pod) = (review.namespace(), review.pod());
        debug!(pod.namespace = namespace, pod.name = pod, ?outcome, "admitted");
        for remark in answer.remarks() {
            if let Some(left_out) = self.remarks.admit() {
                warn!(
                    pod.namespace = namespace,
                    pod.name = pod,
                    ?outcome,
                    left_out,
                    reason = remark,
                    "not as expected"
                );
            }
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Full<Bytes>> {
        let status = refusal.status();
        if matches!(refusal, Refusal::Malformed(_) | Refusal::TooLarge | Refusal::ContentType) {
            self.metrics.malformed();
            // The whole reason may quote the body, so it goes to the sender only.
            if let Some(left_out) = self.remarks.admit() {
                warn!(status = status.as_u16(), left_out, reason = %refusal, "a review was not answered");
            }
        }
        let mut response = response(status, TEXT, refusal.told());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoRoutes => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The message and what lies under it, at most 300 characters.
    fn told(&self) -> String {
        let text = match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}\n"),
            None => format!("{self}\n"),
        };
        text.chars().take(300).collect()
    }
}

fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.uri().path() != "/mutate" {
        return Err(Refusal::Path);
    }
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    match request.headers().get(CONTENT_TYPE).map(HeaderValue::to_str) {
        None => Ok(()),
        // curl's own idea of what --data is passes too: the body shows what it is.
        Some(Ok(text)) if text.contains("json") || text.starts_with("application/x-www-form") => Ok(()),
        Some(_) => Err(Refusal::ContentType),
    }
}

/// Takes what is still being sent, up to a limit and for a while: many clients look for an answer only
/// once they have sent all.
async fn drain<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut left = DRAIN_LIMIT;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // When it takes longer the answer goes out all the same.
    let _late = tokio::time::timeout(DRAIN_WITHIN, all).await;
}

fn response(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
