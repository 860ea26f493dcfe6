//! The HTTP client under every registry: TLS roots, pools, timeouts, proxies and the guard over the
//! addresses that answers may lead to. One a process, cheap to clone. It keeps the sessions of `token`
//! and what was learnt by `quirks` for all registries, and knows no protocol itself.

mod exchange;
mod pace;
mod proxy;
mod reach;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

pub(crate) use exchange::{Exchange, Home, Pass, Payload, Request, host_of};
pub(crate) use pace::{LEAST, Pace};
use reach::Reach;

use crate::quirks::Learnt;
use crate::token::Sessions;

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of an answer may take where nothing large is to be verified first.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing, or less than [`LEAST`] bytes, may come or go on a body.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a registry may work on a blob that it has wholly received: it reads a large one again to verify it.
pub(crate) const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a registry may work on a manifest: it looks for all that the manifest names.
pub(crate) const MANIFEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Idle connections are let go before most servers and gateways would (nginx: 75 s).
const POOL_IDLE: Duration = Duration::from_secs(60);
/// As many as looks at one registry at once, with either login.
const POOL_SIZE: usize = 128;

/// Why the HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// `--trusted-ca-file` is no PEM.
    #[error("the trusted CA file is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// `--trusted-ca-file` holds something else.
    #[error("the trusted CA file holds no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A certificate that cannot be read, or no common TLS version.
    #[error("TLS cannot be set up with the trusted CA file")]
    Tls(#[from] rustls::Error),
    /// A proxy in the environment that is no URL.
    #[error("the HTTP client cannot be set up; see HTTPS_PROXY and HTTP_PROXY")]
    Client(#[from] reqwest::Error),
}

/// Connections to registries; one a process.
#[derive(Clone)]
pub struct Transport {
    /// One client for each reach, since reqwest's resolver belongs to the client.
    clients: Arc<[reqwest::Client; 4]>,
    sessions: Arc<Sessions>,
    learnt: Arc<Learnt>,
}

impl Transport {
    /// Trusts the system's authorities and those of the PEM file, and takes proxies from the environment.
    ///
    /// # Errors
    /// Whatever is wrong with the file or with the proxies.
    pub fn new(trusted_ca_pem: Option<&[u8]>) -> Result<Self, TransportError> {
        let tls = tls(trusted_ca_pem)?;
        let proxies = proxy::Proxies::read(|name| std::env::var(name).ok())?;
        let client = |reach| {
            let mut builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(concat!("drayage/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(POOL_IDLE)
                .pool_max_idle_per_host(POOL_SIZE)
                .no_proxy()
                .dns_resolver(Arc::new(Guard { reach, exempt: proxies.hosts.clone() }));
            for proxy in &proxies.all {
                builder = builder.proxy(proxy.clone());
            }
            builder.build()
        };
        let [public, private, loopback, both] = Reach::ALL.map(client);
        let clients = Arc::new([public?, private?, loopback?, both?]);
        Ok(Self { clients, sessions: Arc::default(), learnt: Arc::default() })
    }

    /// What is known of logins at registries.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What is known of registries that do things their own way.
    pub(crate) fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// The client for a URL, unless the URL names an address outside the reach. Names are checked
    /// when they are resolved.
    pub(crate) fn client(&self, reach: Reach, url: &Url) -> Result<&reqwest::Client, Blocked> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) => None,
            None => return Err(Blocked),
        };
        if address.is_some_and(|address| !reach.allows(address)) {
            return Err(Blocked);
        }
        Ok(&self.clients[reach.index()])
    }
}

fn tls(trusted_ca_pem: Option<&[u8]>) -> Result<ClientConfig, TransportError> {
    let mut roots = RootCertStore::empty();
    // A system without authorities is no error: plain HTTP and the trusted CA file work all the same.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = trusted_ca_pem {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(TransportError::Pem)?)?;
            found = true;
        }
        if !found {
            return Err(TransportError::NoCertificate);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The address is link-local, or on this machine or network while the registry is elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("{}", Self::WHY)]
pub(crate) struct Blocked;

impl Blocked {
    pub(crate) const WHY: &str = "the address is link-local, or local while the registry is not";
}

/// Resolves names and drops the addresses outside the reach.
struct Guard {
    reach: Reach,
    exempt: HashSet<String>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = (!self.exempt.contains(name.as_str())).then_some(self.reach);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| reach.is_none_or(|reach| reach.allows(address.ip()))).collect();
            if allowed.is_empty() {
                return Err(Blocked.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        assert!(matches!(Transport::new(Some(b"hello")), Err(TransportError::NoCertificate)));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(Transport::new(Some(key.as_bytes())), Err(TransportError::NoCertificate)));
    }

    #[test]
    fn an_address_outside_the_reach_gets_no_client_however_it_is_written() {
        let transport = Transport::new(None).expect("no CA file");
        let public = Reach::default();
        for text in ["http://127.0.0.1/", "http://0x7f.1/", "http://2130706433/", "http://[::1]:9/"] {
            let url = Url::parse(text).expect(text);
            assert!(transport.client(public, &url).is_err(), "{text}");
            assert!(transport.client(Reach::HOME, &url).is_ok(), "{text}");
        }
        let metadata = Url::parse("http://169.254.169.254/latest").expect("legal");
        assert!(transport.client(Reach::HOME, &metadata).is_err());
    }

    #[tokio::test]
    async fn a_name_that_resolves_into_a_forbidden_zone_is_not_connected_to() {
        let transport = Transport::new(None).expect("no CA file");
        let url = Url::parse("http://localhost:9/").expect("legal");
        let client = transport.client(Reach::default(), &url).expect("a name is no address");
        let error = client.get(url.clone()).send().await.expect_err("loopback");
        let cause = crate::error::cause_of(&error, "localhost", false);
        assert!(matches!(cause, crate::error::Cause::Misled { .. }), "{cause:?}");
    }
}
