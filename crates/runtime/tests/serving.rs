//! What clients see of the server and of the admin endpoints, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use runtime::admin::{self, Health, Metrics};
use runtime::server::{Limits, Server};
use runtime::{Shutdown, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_ne!(request.uri().path(), "/panic");
    Ok(Response::new(Full::from("served")))
}

async fn get(url: String) -> (u16, String) {
    let response = reqwest::get(url).await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

fn provider() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn a_panic_closes_only_its_connection() {
    provider();
    let server = Server::bind("test", loopback(), None).await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve(|_| service_fn(answer), Shutdown::new(Duration::ZERO)));
    let client = reqwest::Client::new();
    assert!(client.get(format!("http://{address}/panic")).send().await.is_err());
    assert_eq!(get(format!("http://{address}/")).await, (200, "served".to_owned()));
}

#[tokio::test]
async fn tls_shows_the_certificate_that_it_holds_at_the_time() {
    provider();
    let certificate = tls::Certificate::default();
    let config = tls::server_config(&certificate).unwrap();
    let server = Server::bind("test", loopback(), Some(config)).await.unwrap();
    let url = format!("https://localhost:{}/", server.address().port());
    tokio::spawn(server.serve(|_| service_fn(answer), Shutdown::new(Duration::ZERO)));
    for _ in 0..2 {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let root = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        assert!(client.get(&url).send().await.is_err(), "another certificate, or none");
        certificate.replace(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "served");
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_runs_and_takes_nothing_new() {
    provider();
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (started.clone(), release.clone());
    let service = move |_| {
        let (started, release) = signals.clone();
        service_fn(move |request| {
            let (started, release) = (started.clone(), release.clone());
            async move {
                started.notify_one();
                release.notified().await;
                answer(request).await
            }
        })
    };
    let shutdown = Shutdown::new(Duration::ZERO);
    let server = Server::bind("test", loopback(), None).await.unwrap();
    let address = server.address();
    let serving = tokio::spawn(server.serve(service, shutdown.clone()));
    let running = tokio::spawn(get(format!("http://{address}/")));
    started.notified().await;
    shutdown.begin();
    // The listener is closed before the drain, at a moment nobody announces.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    assert_eq!(running.await.unwrap(), (200, "served".to_owned()));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let moment = Duration::from_millis(20);
    let limits = Limits { connections: 1, first_byte: moment, handshake: moment, headers: moment };
    let server = Server::bind("test", loopback(), None).await.unwrap().with_limits(limits);
    let address = server.address();
    tokio::spawn(server.serve(|_| service_fn(answer), Shutdown::new(Duration::ZERO)));
    for beginning in ["", "GET / HT"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // The end of the stream, with or without a reset, is what counts.
        let _end = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_handshakes() {
    let long = Duration::from_secs(3600);
    let limits = Limits { connections: 9, first_byte: long, handshake: long, headers: long };
    for beginning in [&b""[..], b"\x16"] {
        let config = tls::server_config(&tls::Certificate::default()).unwrap();
        let server =
            Server::bind("test", loopback(), Some(config)).await.unwrap().with_limits(limits.clone());
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let (shutdown, accepted) = (Shutdown::new(Duration::ZERO), Arc::new(Notify::new()));
        let notify = accepted.clone();
        let service = move |_| {
            notify.notify_one();
            service_fn(answer)
        };
        let serving = tokio::spawn(server.serve(service, shutdown.clone()));
        accepted.notified().await;
        shutdown.begin();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_whose_body_nobody_read() {
    let refuse = |_request: Request<Incoming>| async {
        let mut response = Response::new(Full::new(Bytes::from("no")));
        *response.status_mut() = hyper::StatusCode::FORBIDDEN;
        Ok::<_, Infallible>(response)
    };
    let server = Server::bind("test", loopback(), None).await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve(move |_| service_fn(refuse), Shutdown::new(Duration::ZERO)));
    let body = vec![b'x'; 8 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("connection: close") && answer.ends_with("no"), "{answer}");
}

#[tokio::test]
async fn the_admin_server_tells_readiness_in_words() {
    provider();
    let (health, shutdown) = (Health::default(), Shutdown::new(Duration::ZERO));
    let database = health.condition("database");
    let metrics = Metrics::new().unwrap();
    let address = admin::start(loopback(), health, metrics, shutdown.clone()).await.unwrap();
    let look = |path: &str| get(format!("http://{address}{path}"));

    assert_eq!(look("/livez").await, (200, "ok".to_owned()));
    assert_eq!(look("/readyz").await, (503, "database: starting".to_owned()));
    database.ready();
    assert_eq!(look("/readyz").await, (200, "ok".to_owned()));
    shutdown.begin();
    assert_eq!(look("/readyz").await, (503, "stopping".to_owned()));
    let (status, page) = look("/metrics").await;
    assert_eq!(status, 200);
    assert!(page.contains("drayage_build_info{"), "{page}");
}
