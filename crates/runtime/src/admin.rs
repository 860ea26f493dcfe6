//! The `--admin-listen` server: liveness, readiness and metrics in plain HTTP, kept off the
//! public listener. Each program gives it its health and its metrics and serves nothing else here.

mod health;
mod metrics;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tracing::error;

use crate::Shutdown;
use crate::server::{BindError, Limits, Server};

pub use health::{Condition, Health};
pub use metrics::Metrics;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

struct Admin {
    health: Health,
    metrics: Metrics,
    shutdown: Shutdown,
}

/// Binds and serves on a task of its own until the process ends, through the drain of its other
/// listeners; from the beginning of the shutdown on it is not ready. Gives the bound address.
pub async fn start(
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<SocketAddr, BindError> {
    let limits = Limits { connections: 32, ..Limits::default() };
    let server = Server::bind("admin", address, None).await?.with_limits(limits);
    let address = server.address();
    let admin = Arc::new(Admin { health, metrics, shutdown });
    let service = move |_client| {
        let admin = admin.clone();
        service_fn(move |request| {
            let admin = admin.clone();
            async move { Ok::<_, Infallible>(admin.answer(&request).await) }
        })
    };
    tokio::spawn(server.serve(service, Shutdown::new(Duration::ZERO)));
    Ok(address)
}

impl Admin {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok"),
            "/readyz" => self.readiness(),
            "/metrics" => self.scrape().await,
            _ => text(StatusCode::NOT_FOUND, "served here: /livez, /readyz, /metrics"),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.shutdown.is_begun() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "stopping");
        }
        match self.health.readiness() {
            Ok(notes) => text(StatusCode::OK, notes),
            Err(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, reasons),
        }
    }

    async fn scrape(&self) -> Response<Full<Bytes>> {
        match self.metrics.render().await {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page);
                let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(header::CONTENT_TYPE, format);
                response
            }
            Err(error) => {
                error!(%error, "the metrics cannot be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; the log says why")
            }
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    response
}
