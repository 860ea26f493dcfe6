//! Certificates of test servers: an authority that the client trusts and leaves for loopback.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority of one test.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a server: its chain and its key, both in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The server's certificate, then its authority's.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one with a key of its own.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Authority of a Drayage test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// What a client must trust, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a new pair for `localhost` and `127.0.0.1` as `tls.crt` and `tls.key` into `folder`.
    pub fn write_pair(&self, folder: &Path) -> Result<Pair> {
        self.write_pair_for(folder, &["localhost", "127.0.0.1"])
    }

    /// Writes a new pair for these names and addresses.
    pub fn write_pair_for(&self, folder: &Path, names: &[&str]) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let pair = Pair { chain: folder.join("tls.crt"), key: folder.join("tls.key") };
        fs::write(&pair.chain, leaf.pem() + &self.pem)?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}
