//! What a TLS server of ours is: rustls with ring, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN,
//! and a certificate that can be replaced while it serves. `reload` keeps it equal to two files.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The path of a certificate chain in PEM, the server's own certificate first.
#[derive(Debug, Clone)]
pub struct ChainPath(PathBuf);

/// The path of a private key in PEM.
#[derive(Debug, Clone)]
pub struct KeyPath(PathBuf);

impl FromStr for ChainPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl FromStr for KeyPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl AsRef<Path> for ChainPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for KeyPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// Why a chain and a key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The chain is no PEM, or holds something broken.
    #[error("the certificate chain cannot be read")]
    Chain(#[source] pem::Error),
    /// The chain holds no certificate at all.
    #[error("the certificate chain holds no certificate")]
    Empty,
    /// No private key in the PEM.
    #[error("the private key cannot be read")]
    Key(#[source] pem::Error),
    /// The key is of no known kind, or belongs to another certificate.
    #[error("the private key does not serve the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// The certificate that a server shows, replaceable while it serves; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Certificate(Arc<ArcSwapOption<CertifiedKey>>);

impl Certificate {
    /// Takes up a chain and its key, both in PEM; when they do not fit, the former pair stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), PairError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(PairError::Chain)?;
        if chain.is_empty() {
            return Err(PairError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(PairError::Key)?;
        let provider = rustls::crypto::ring::default_provider();
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(PairError::Mismatch)?;
        self.0.store(Some(Arc::new(pair)));
        Ok(())
    }

    /// The server's own certificate, in DER.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.0.load().as_ref()?.cert.first().cloned()
    }

    /// Whether there is one to show; without one every handshake is refused.
    pub fn is_present(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The configuration of a server that shows `certificate`, whichever it holds at the time.
pub fn server_config(certificate: &Certificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_does_not_fit_leaves_the_former_in_force() {
        let certificate = Certificate::default();
        let ((chain, key), (_, other)) = (pair(), pair());
        let mismatch = certificate.replace(chain.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(matches!(mismatch, PairError::Mismatch(_)), "{mismatch}");
        assert!(!certificate.is_present());
        certificate.replace(chain.as_bytes(), key.as_bytes()).unwrap();
        let former = certificate.0.load_full().unwrap();
        assert!(matches!(certificate.replace(b"", key.as_bytes()), Err(PairError::Empty)));
        assert!(matches!(certificate.replace(chain.as_bytes(), b""), Err(PairError::Key(_))));
        assert!(Arc::ptr_eq(&former, &certificate.0.load_full().unwrap()));
    }
}
