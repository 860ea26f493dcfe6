//! What a path names: the parameters of its template, and the algorithm that it addresses by
//! `{algorithm}` (a UUID) or by `{owner}/{name}`. The extractors find the algorithm and let through
//! only whom it concerns, before the body is looked at.

use std::collections::HashMap;

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use domain::access::Caller;
use domain::algorithm::Username;
use domain::registry::RegistryId;
use domain::version::VersionHash;
use http::request::Parts;
use store::{Algorithm, AlgorithmRef, Store};
use uuid::Uuid;

use crate::authentication::Known;
use crate::error::ApiError;

const NOT_YOURS: ApiError = ApiError::Forbidden("this key is not one of the algorithm's owner");

/// The parameters of a path. A malformed one names nothing, which is a 404 of its kind.
pub(crate) struct Params(HashMap<String, String>);

impl Params {
    /// A registry's id.
    pub(crate) fn registry(&self) -> Result<RegistryId, ApiError> {
        uuid(self.text("registry")).map(RegistryId).ok_or(ApiError::RegistryUnknown)
    }

    /// A version's hash.
    pub(crate) fn version(&self) -> Result<VersionHash, ApiError> {
        self.text("hash").parse().map_err(|_| ApiError::VersionUnknown)
    }

    /// A build's id, if it can be one.
    pub(crate) fn build(&self) -> Option<Uuid> {
        uuid(self.text("build"))
    }

    /// The parameter as it is, without its percent-encoding.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    fn algorithm(&self) -> Result<AlgorithmRef, ApiError> {
        if self.0.contains_key("algorithm") {
            return uuid(self.text("algorithm")).map(AlgorithmRef::Uuid).ok_or(ApiError::AlgorithmUnknown);
        }
        let (owner, name) = (self.text("owner").parse(), self.text("name").parse());
        match (owner, name) {
            (Ok(owner), Ok(name)) => Ok(AlgorithmRef::Name(owner, name)),
            _ => Err(ApiError::AlgorithmUnknown),
        }
    }
}

/// A UUID in its usual form; the others that the crate knows would be further names of one thing.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| ApiError::RouteUnknown)?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

/// An algorithm that the caller may change.
pub(crate) struct Managed(pub(crate) Algorithm);

/// An algorithm that the caller may read and re-push.
pub(crate) struct Operated(pub(crate) Algorithm);

/// The owner whose algorithms the caller may change.
pub(crate) struct ManagedOwner(pub(crate) Username);

impl<S> FromRequestParts<S> for Managed
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        find(parts, state, Caller::may_manage).await.map(Self)
    }
}

impl<S> FromRequestParts<S> for Operated
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        find(parts, state, Caller::may_operate).await.map(Self)
    }
}

impl<S> FromRequestParts<S> for ManagedOwner
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Known(caller) = Known::from_request_parts(parts, state).await?;
        // The parameter shares its place, and so its name, with an algorithm's id.
        let owner = Params::from_request_parts(parts, state).await?.text("algorithm").parse();
        // The caller's own spelling is the one that the username came into being with.
        match (owner, caller.username.clone()) {
            (Ok(owner), Some(own)) if caller.may_manage(&owner) => Ok(Self(own)),
            _ => Err(NOT_YOURS),
        }
    }
}

/// Whether another owner's name leads to an algorithm is not told: the refusal comes before the look.
/// An id is 122 random bits that nobody finds by trying, so an unknown one may be said to be unknown.
async fn find<S>(
    parts: &mut Parts,
    state: &S,
    may: fn(&Caller, &Username) -> bool,
) -> Result<Algorithm, ApiError>
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    let Known(caller) = Known::from_request_parts(parts, state).await?;
    let algorithm = Params::from_request_parts(parts, state).await?.algorithm()?;
    if matches!(&algorithm, AlgorithmRef::Name(owner, _) if !may(&caller, owner)) {
        return Err(NOT_YOURS);
    }
    let found = Store::from_ref(state).algorithm(algorithm).await?.ok_or(ApiError::AlgorithmUnknown)?;
    if may(&caller, &found.owner) { Ok(found) } else { Err(NOT_YOURS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_form() {
        let id = "0b6e2c2e-5d1c-4a56-9a0d-0d3f1d9f3a11";
        assert!(uuid(id).is_some());
        for other in ["", &id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}"), "../../x"] {
            assert!(uuid(other).is_none(), "{other}");
        }
    }
}
