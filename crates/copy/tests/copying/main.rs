//! Claims about copying whole images: between real registries, and into a scripted one where only a
//! fault or the order of requests can show the claim.

#[path = "../../../distribution/tests/protocol/docker_registry.rs"]
mod docker_registry;
mod faults;
#[path = "../../../distribution/tests/protocol/gateway.rs"]
mod gateway;
mod image;
mod real;
#[expect(dead_code, reason = "shared with the tests of distribution, which use all of it")]
#[path = "../../../distribution/tests/protocol/scripted.rs"]
mod scripted;
mod streams;

use copy::{Copier, Job, Progress};
use distribution::{ManifestRef, Registry, Transport};
use domain::credentials::Credentials;
use domain::push::{Failure, Moved};
use domain::reference::{Digest, Repository, Tag};

fn registry(host: &str, login: Option<(&str, &str)>) -> Registry {
    let transport = Transport::new(None).expect("a transport");
    let login = login.map(|(username, password)| Credentials::new(username, password));
    Registry::new(&transport, format!("http://{host}").parse().expect("an address"), login)
}

fn source_repository() -> Repository {
    "algorithms/acme/x".parse().expect("a repository")
}

fn destination_repository() -> Repository {
    "enterprise/algorithms/acme/x".parse().expect("a repository")
}

fn tag() -> Tag {
    "0123abcd".parse().expect("a tag")
}

/// Copies with a progress that nobody reads.
async fn copy(source: &Registry, digest: &Digest, destination: &Registry) -> Result<Moved, Failure> {
    let (copier, progress) = (Copier::default(), Progress::default());
    copy_with(&copier, source, digest, destination, &destination_repository(), &progress).await
}

/// Looks, and copies unless nothing is to be done.
async fn copy_with(
    copier: &Copier,
    source: &Registry,
    digest: &Digest,
    destination: &Registry,
    destination_repository: &Repository,
    progress: &Progress,
) -> Result<Moved, Failure> {
    let (source_repository, tag) = (source_repository(), tag());
    let job = Job {
        source,
        source_repository: &source_repository,
        digest,
        destination,
        destination_repository,
        tag: &tag,
        is_damaged: false,
    };
    match copier.look(&job).await? {
        true => Ok(Moved::default()),
        false => copier.copy(&job, progress, (), async || {}).await,
    }
}

/// What the tag names at the destination.
async fn tagged(destination: &Registry) -> Option<Digest> {
    let at = ManifestRef::Tag(tag());
    let found = destination.resolve(&destination_repository(), &at).await.expect("an answer");
    found.map(|found| found.digest)
}
