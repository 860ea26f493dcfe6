//! Pushed means pullable: reads the manifest back by its digest with the registry's READ login.

use distribution::{Error, Manifest, ManifestRef, Registry, Side, Transport};
use domain::push::{Failure, Pullable, Reason};
use domain::reference::Repository;
use store::Claim;

/// What the registry's READ login is shown of the image. Why not more is found out by [`prove`].
pub(crate) enum Readable {
    /// Nothing.
    No,
    /// That the image is there.
    Yes,
    /// The image's manifest.
    Read(Manifest),
}

/// Looks for the image with the registry's READ login; for its manifest, where what lies there is doubted.
pub(crate) async fn look(transport: &Transport, claim: &Claim, repository: &Repository) -> Readable {
    let reader = Registry::new(transport, claim.destination.clone(), claim.read_login.clone());
    let at = ManifestRef::Digest(claim.digest.clone());
    if claim.is_doubted {
        return reader.manifest(repository, &at).await.map_or(Readable::No, Readable::Read);
    }
    match reader.resolve(repository, &at).await {
        Ok(Some(_)) => Readable::Yes,
        _ => Readable::No,
    }
}

/// Proves that the cluster can pull what was pushed.
pub(crate) async fn prove(
    transport: &Transport,
    claim: &Claim,
    repository: &Repository,
) -> Result<Pullable, Failure> {
    let reader = Registry::new(transport, claim.destination.clone(), claim.read_login.clone());
    let refused = match read_back(&reader, claim, repository).await {
        Ok(()) => return Ok(Pullable::Verified),
        Err(error) => error,
    };
    let reason = refused.failure(Side::Destination).reason;
    // Nobody's login is refused where none is stored: the cluster may have one of its own.
    let own_login = claim.read_login.is_none() && claim.push_login.is_some();
    if own_login && matches!(reason, Reason::CredentialsRefused | Reason::Denied) {
        let pusher = Registry::new(transport, claim.destination.clone(), claim.push_login.clone());
        return match read_back(&pusher, claim, repository).await {
            Ok(()) => Ok(Pullable::Unverified),
            Err(error) => Err(not_pullable(&error)),
        };
    }
    Err(not_pullable(&refused))
}

async fn read_back(registry: &Registry, claim: &Claim, repository: &Repository) -> Result<(), Error> {
    registry.manifest(repository, &ManifestRef::Digest(claim.digest.clone())).await.map(drop)
}

/// What passes by itself keeps its reason; anything else means that the image is there and not to be had.
fn not_pullable(error: &Error) -> Failure {
    let failure = error.failure(Side::Destination);
    if failure.reason.is_transient() || failure.reason == Reason::Certificate {
        return failure;
    }
    Failure {
        reason: Reason::NotPullable,
        message: format!(
            "pushed, but the registry's READ credentials cannot pull it, so no pod is sent there; mend them \
             (PUT /v1/registries/ID) and push again: {}",
            error.told()
        ),
        ..failure
    }
}
