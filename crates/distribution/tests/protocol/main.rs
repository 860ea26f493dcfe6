//! Claims about speaking to one registry: a real docker-registry where it can show them, a scripted
//! server where only a fault or an unusual answer can.

mod docker_registry;
mod guards;
mod real;
mod refusals;
mod scripted;
mod streams;
mod tls;
mod tokens;

use distribution::{Blob, Error, ManifestRef, Registry, Transport};
use domain::credentials::Credentials;
use domain::push::Failure;
use domain::reference::{Digest, Repository};
use sha2::{Digest as _, Sha256};

fn registry(host: &str, login: Option<(&str, &str)>) -> Registry {
    let transport = Transport::new(None).expect("a transport");
    let login = login.map(|(username, password)| Credentials::new(username, password));
    let address = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    Registry::new(&transport, address.parse().expect("an address"), login)
}

fn repository() -> Repository {
    "acme/algorithms/x".parse().expect("a repository")
}

fn tag(text: &str) -> ManifestRef {
    ManifestRef::Tag(text.parse().expect("a tag"))
}

fn digest_of(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

fn blob_of(bytes: &[u8]) -> Blob {
    Blob { digest: digest_of(bytes), size: bytes.len() as u64 }
}

/// The failure at the destination, once it is certain that no part of it repeats the password.
fn failure(error: &Error, secret: &str) -> Failure {
    let failure = error.failure(distribution::Side::Destination);
    let everything = format!("{error:?} {failure:?}");
    assert!(!everything.contains(secret), "{everything}");
    failure
}
