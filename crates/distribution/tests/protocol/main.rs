//! Claims about speaking to one registry: a real docker-registry where it can show them, a scripted
//! server where only a fault or an unusual answer can.

mod docker_registry;
mod fallbacks;
mod gateway;
mod guards;
mod reads;
mod real;
mod refusals;
mod resumption;
mod scripted;
mod storing;
mod tls;
mod tokens;
mod uploads;

use std::convert::Infallible;

use bytes::Bytes;
use distribution::{Blob, Error, ManifestRef, Registry, Transport, UploadError};
use domain::credentials::Credentials;
use domain::push::Failure;
use domain::reference::{Digest, Repository};
use futures_util::future::ready;
use futures_util::stream;
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

/// Uploads bytes, from wherever the registry wants to have them.
async fn upload(registry: &Registry, bytes: &[u8]) -> Result<(), Error> {
    upload_as(registry, &blob_of(bytes), bytes).await
}

async fn upload_as(registry: &Registry, blob: &Blob, bytes: &[u8]) -> Result<(), Error> {
    let read = |from: u64| {
        let pieces = bytes[from as usize..].chunks(1 << 16).map(Bytes::copy_from_slice).map(Ok);
        ready(Ok(stream::iter(pieces.collect::<Vec<Result<_, Infallible>>>())))
    };
    match registry.upload(&repository(), None, blob, read).await {
        Ok(()) => Ok(()),
        Err(UploadError::Registry(error)) => Err(error),
        Err(UploadError::Body(never)) => match never {},
    }
}

/// The failure at the destination, once it is certain that no part of it repeats the password.
fn failure(error: &Error, secret: &str) -> Failure {
    let failure = error.failure(distribution::Side::Destination);
    let everything = format!("{error:?} {failure:?}");
    assert!(!everything.contains(secret), "{everything}");
    failure
}
