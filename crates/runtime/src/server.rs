//! Binds an address, then serves a hyper service on it over plain TCP or TLS, HTTP/1.1 and HTTP/2.
//! Every connection is a task of its own, so a panic closes that connection and nothing else.
//! Limits on bodies and on the time of a request belong to the service.

mod closing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::Shutdown;
use crate::server::closing::{Lingering, announcing};

/// The pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What one listener grants its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// From the accept to the first byte. Clients send it at once, so that it is short: whoever opens
    /// connections and is silent holds up the others for no longer.
    pub first_byte: Duration,
    /// From there to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the end of one request to the end of the next one's headers over HTTP/1.1. It bounds
    /// idle connections too, so it is no shorter than clients expect to reuse one.
    pub headers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Half of the 1024 file descriptors that a process usually has.
            connections: 512,
            first_byte: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(60),
        }
    }
}

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
}

impl Server {
    /// Binds `address`, port 0 for any, and logs `listening` with the role and the address.
    pub async fn bind(
        role: &str,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!(role, address = %address, "listening");
        Ok(Self { listener, address, tls, limits: Limits::default() })
    }

    /// Replaces the default limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address that was bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown begins, then drains: requests that run are answered, handshakes given up.
    ///
    /// `service` makes the service of one connection from the client's address.
    pub async fn serve<S, B>(self, service: impl Fn(SocketAddr) -> S, shutdown: Shutdown)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Error>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        let tls = self.tls.map(TlsAcceptor::from);
        let protocols = Arc::new(Protocols::new(self.limits.headers));
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &slots) => accepted,
                () = shutdown.begun() => break,
            };
            let Some((stream, client, slot)) = accepted else { continue };
            let connection = Connection {
                tls: tls.clone(),
                limits: self.limits.clone(),
                shutdown: shutdown.clone(),
                protocols: protocols.clone(),
                watcher: graceful.watcher(),
            };
            let service = service(client);
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = connection.serve(stream, service).await {
                    debug!(client.address = %client, error, "a connection ended early");
                }
            });
        }
        drop(self.listener);
        graceful.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, client)) => Some((stream, client, slot)),
        // The client was gone before it was accepted.
        Err(error) if is_of_one_client(&error) => None,
        // No file descriptors or memory: the same call would fail at once again, and spin.
        Err(error) => {
            warn!(%error, "cannot accept connections, pausing");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The protocol is known before hyper reads: by ALPN over TLS, by the first byte without.
/// Left to find out for itself, hyper would wait for a silent client for ever.
struct Protocols {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(headers: Duration) -> Self {
        let mut http1 = auto::Builder::new(TokioExecutor::new()).http1_only();
        http1.http1().timer(TokioTimer::new()).header_read_timeout(headers);
        let mut http2 = auto::Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1, http2 }
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    limits: Limits,
    shutdown: Shutdown,
    protocols: Arc<Protocols>,
    watcher: Watcher,
}

impl Connection {
    async fn serve<S, B>(self, stream: TcpStream, service: S) -> Result<(), Error>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Error>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        stream.set_nodelay(true)?;
        let mut first = [0; 3];
        let read = self.opened(self.limits.first_byte, stream.peek(&mut first)).await?;
        match &self.tls {
            Some(acceptor) => {
                let handshake = acceptor.accept(Lingering::new(stream));
                let stream = self.opened(self.limits.handshake, handshake).await?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(http2, stream, service).await
            }
            None => self.speak(first[..read] == *b"PRI", Lingering::new(stream), service).await,
        }
    }

    /// Takes a step towards the first request, unless its time ends or the shutdown begins before.
    async fn opened<T>(
        &self,
        within: Duration,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Error> {
        tokio::select! {
            // What has come already is served.
            biased;
            done = tokio::time::timeout(within, step) => Ok(done??),
            () = self.shutdown.begun() => Err("the shutdown began before a request came".into()),
        }
    }

    async fn speak<I, S, B>(self, http2: bool, stream: I, service: S) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Error>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        let protocol = if http2 { &self.protocols.http2 } else { &self.protocols.http1 };
        let connection = protocol.serve_connection(TokioIo::new(stream), announcing(service)).into_owned();
        self.watcher.watch(connection).await
    }
}
