//! The load: HTTP/1.1 over TLS on connections that stay open, as fast as they go or at a fixed rate.
//! Every answer must be a 200; what stands in it is checked by whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::review::Reviews;

/// Connections at once, as many as performance targets speak of.
pub(crate) const CONNECTIONS: usize = 16;

/// A server that reviews are sent to.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Server {
    /// The server at an address, whose certificate this authority has issued.
    pub(crate) fn new(address: SocketAddr, authority: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender; what ends it early fails the next request.
        tokio::spawn(connection);
        Ok(Connection { sender, host: self.address.to_string() })
    }

    async fn connections(&self) -> Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }
}

/// A connection that stays open.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Sends a review and gives the answer.
    pub(crate) async fn post(&mut self, review: Bytes) -> Result<Bytes> {
        let request = Request::post("/mutate?timeout=3s")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(review))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }
}

/// Requests a second when every connection sends its next review as soon as it is answered, on so many
/// threads: those that wait for a slow server fall asleep, and waking them is charged to both sides.
pub(crate) async fn saturate(
    server: &Server,
    reviews: &Arc<Reviews>,
    time: Duration,
    threads: usize,
) -> Result<f64> {
    let (server, reviews) = (server.clone(), reviews.clone());
    let load = move || {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        runtime.block_on(ask_on(&server, &reviews, time))
    };
    tokio::task::spawn_blocking(load).await?
}

async fn ask_on(server: &Server, reviews: &Arc<Reviews>, time: Duration) -> Result<f64> {
    let connections = server.connections().await?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let reviews = reviews.clone();
        tasks.spawn(async move {
            let mut answered = 0_u32;
            while start.elapsed() < time {
                connection.post(reviews.next()).await?;
                answered += 1;
            }
            anyhow::Ok(answered)
        });
    }
    let mut answered = 0;
    while let Some(done) = tasks.join_next().await {
        answered += done??;
    }
    Ok(f64::from(answered) / start.elapsed().as_secs_f64())
}

/// How long answers took, from the moment at which each was due to be asked for, whether or not its
/// connection was free by then.
pub(crate) async fn paced(
    server: &Server,
    reviews: &Arc<Reviews>,
    rate: u32,
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    let mut due = Vec::new();
    for mut connection in server.connections().await? {
        let (sender, mut moments) = mpsc::unbounded_channel::<Instant>();
        due.push(sender);
        let reviews = reviews.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            while let Some(moment) = moments.recv().await {
                connection.post(reviews.next()).await?;
                took.push(moment.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    // The runtime's timers are as coarse as what is measured, a sleeping thread's are not.
    let pacer = std::thread::spawn(move || {
        let (start, every) = (Instant::now(), Duration::from_secs(1) / rate);
        let requests = (time.as_secs_f64() * f64::from(rate)) as u32;
        for (number, sender) in (0..requests).zip(due.iter().cycle()) {
            let moment = start + every * number;
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            if sender.send(moment).is_err() {
                break;
            }
        }
    });
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    pacer.join().ok().context("the pacing thread")?;
    Ok(took)
}
