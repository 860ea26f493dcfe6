//! A scripted server behind TLS, and claims about certificates.

use std::sync::{Arc, Mutex};

use distribution::{Cause, Registry, Transport};
use domain::push::Reason;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::scripted::{Reply, Seen, serve};
use crate::{failure, repository, tag};

/// A server with a certificate for `localhost`: its host and the certificate in PEM.
pub(crate) async fn secure(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (String, String) {
    let ours = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(ours.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![ours.cert.der().clone()], key)
        .expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (acceptor, answer) = (TlsAcceptor::from(Arc::new(config)), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                serve(acceptor.accept(socket).await.ok()?, &*answer, &Mutex::default()).await
            });
        }
    });
    (format!("localhost:{port}"), ours.cert.pem())
}

/// The registry there, for one who trusts the certificate.
pub(crate) fn trusting(host: &str, pem: &str) -> Registry {
    let transport = Transport::new(Some(pem.as_bytes())).expect("a transport");
    Registry::new(&transport, host.parse().expect("an address"), None)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_names_another_host_is_named_as_such() {
    let (host, pem) = secure(|_| Reply::new(404)).await;
    let error = crate::registry(&format!("https://{host}"), None).resolve(&repository(), &tag("v1")).await;
    let failure = failure(&error.expect_err("an unknown authority"), "hunter2");
    assert_eq!((failure.reason, failure.registry_down), (Reason::Certificate, false));
    assert!(failure.message.contains("--trusted-ca-file"), "{}", failure.message);
    let other = host.replace("localhost", "127.0.0.1");
    let error = trusting(&other, &pem).resolve(&repository(), &tag("v1")).await.expect_err("another name");
    assert!(matches!(error.cause, Cause::Certificate(_)), "{error:?}");
    assert_eq!(trusting(&host, &pem).resolve(&repository(), &tag("v1")).await.expect("trusted"), None);
}
