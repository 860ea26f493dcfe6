//! Authorities and leaves: made, written as PEM, read back. `decision` judges them, `secrets` stores them.
//! A private key leaves this room only as the bytes of a Secret or of the server.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// By this name an authority of ours is known in a bundle.
const AUTHORITY: &str = "Drayage webhook authority";
/// How far another machine's clock may be behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A private key in PEM.
#[derive(Clone)]
pub(crate) struct PrivateKey(Zeroizing<String>);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    pub(crate) fn pem(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The key, if it is one and this public key is its own.
    fn read(pem: &[u8], public: &[u8]) -> Result<(Self, KeyPair), Flaw> {
        let text = Zeroizing::new(String::from_utf8(pem.to_vec()).map_err(|_| Flaw::Key)?);
        let pair = KeyPair::from_pem(&text).map_err(|_| Flaw::Key)?;
        if pair.subject_public_key_info() == public { Ok((Self(text), pair)) } else { Err(Flaw::Mismatch) }
    }
}

/// Why what a Secret holds cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("is not there")]
    Missing,
    #[error("holds no certificate that can be read")]
    Certificate,
    #[error("holds no private key that can be read")]
    Key,
    #[error("holds the private key of another certificate")]
    Mismatch,
}

/// No certificate can be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made")]
pub(crate) struct IssueError(#[from] rcgen::Error);

/// The certificate of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    der: Vec<u8>,
    pub(crate) expires: SystemTime,
}

/// The authorities of an installation: the issuing one first, then its former ones.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    pub(crate) certificates: Vec<Authority>,
    /// Of the issuing one; with a new authority the former's key is gone.
    pub(crate) key: PrivateKey,
}

/// What a server shows.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    der: Vec<u8>,
    /// The leaf and its authority.
    pub(crate) chain: String,
    pub(crate) key: PrivateKey,
    pub(crate) expires: SystemTime,
    pub(crate) names: Vec<String>,
}

impl Authority {
    /// Those of our authorities that a bundle holds; what else it holds is none of our business.
    pub(crate) fn all_in(bundle: &[u8]) -> Vec<Self> {
        certificates(bundle).into_iter().filter_map(Self::ours).collect()
    }

    fn ours(der: Vec<u8>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let named = certificate.subject().iter_common_name().any(|name| name.as_str() == Ok(AUTHORITY));
        let expires = expiry(&certificate);
        (named && certificate.is_ca()).then_some(expires).map(|expires| Self { der, expires })
    }

    pub(crate) fn pem(&self) -> String {
        pem(&self.der)
    }

    /// Whether it has signed this leaf.
    pub(crate) fn issued(&self, leaf: &Leaf) -> bool {
        let (Ok((_, authority)), Ok((_, leaf))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&leaf.der))
        else {
            return false;
        };
        leaf.verify_signature(Some(authority.public_key())).is_ok()
    }
}

impl Authorities {
    /// A new issuing authority beside those that stay trusted.
    pub(crate) fn issue(beside: Vec<Authority>, now: SystemTime, life: Duration) -> Result<Self, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((now - BACKDATED).into(), (now + life).into());
        let pair = KeyPair::generate()?;
        let der = params.self_signed(&pair)?.der().to_vec();
        let newest = Authority { der, expires: whole_seconds(now + life) };
        let key = PrivateKey(Zeroizing::new(pair.serialize_pem()));
        Ok(Self { certificates: [vec![newest], beside].concat(), key })
    }

    pub(crate) fn read(bundle: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let certificates = Authority::all_in(bundle);
        let newest = certificates.first().ok_or(Flaw::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(&newest.der).map_err(|_| Flaw::Certificate)?;
        let (key, _) = PrivateKey::read(key, parsed.public_key().raw)?;
        Ok(Self { certificates, key })
    }

    /// The one that issues.
    pub(crate) fn newest(&self) -> Option<&Authority> {
        self.certificates.first()
    }

    /// A new leaf of the issuing authority.
    pub(crate) fn leaf(&self, names: &[String], now: SystemTime, life: Duration) -> Result<Leaf, IssueError> {
        let newest = self.newest().ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let issuer_key = KeyPair::from_pem(&self.key.0)?;
        let issuer = Issuer::from_ca_cert_der(&newest.der.as_slice().into(), issuer_key)?;
        // No leaf outlives its authority, so an authority that has expired can be forgotten.
        let expires = newest.expires.min(now + life);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "drayage");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = ((now - BACKDATED).into(), expires.into());
        let pair = KeyPair::generate()?;
        let der = params.signed_by(&pair, &issuer)?.der().to_vec();
        let (chain, key) = (pem(&der) + &newest.pem(), PrivateKey(Zeroizing::new(pair.serialize_pem())));
        Ok(Leaf { der, chain, key, expires: whole_seconds(expires), names: names.to_vec() })
    }
}

impl Leaf {
    pub(crate) fn read(chain: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let der = certificates(chain).into_iter().next().ok_or(Flaw::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| Flaw::Certificate)?;
        let (key, _) = PrivateKey::read(key, parsed.public_key().raw)?;
        let alternative = parsed.subject_alternative_name().map_err(|_| Flaw::Certificate)?;
        let names = alternative.map_or_else(Vec::new, |names| {
            let names = names.value.general_names.iter();
            let dns = names.filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
            dns.collect()
        });
        let expires = expiry(&parsed);
        let chain = String::from_utf8(chain.to_vec()).map_err(|_| Flaw::Certificate)?;
        Ok(Self { der, chain, key, expires, names })
    }
}

/// When a certificate ends.
pub(crate) fn expiry_of(der: &[u8]) -> Option<SystemTime> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| expiry(&certificate))
}

fn expiry(certificate: &X509Certificate<'_>) -> SystemTime {
    let seconds = certificate.validity().not_after.timestamp();
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// As a certificate can say it.
fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The certificates of a PEM, up to the first that is broken.
fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let blocks = Pem::iter_from_buffer(pem).map_while(Result::ok);
    blocks.filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).collect()
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (at, letter) in BASE64.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + "\n-----END CERTIFICATE-----\n"
}
