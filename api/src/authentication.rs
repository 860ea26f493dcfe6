//! Who calls: keys in the header Authorization, and extractors for what each role may do. Whether an
//! algorithm is the caller's is decided in `address`, which finds it.

use axum::extract::{FromRef, FromRequestParts};
use domain::access::Caller;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest as _, Sha256};
use store::Store;

use crate::error::ApiError;
use crate::requests::CallerNote;

/// The longest key, in characters.
pub(crate) const KEY_LIMIT: usize = 256;
/// What follows `sim` in a key of ours: 148 random bits.
const RANDOM_CHARACTERS: usize = 25;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A key of a caller, before anybody knows whether it is in force.
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// A key that nobody has: 28 characters beginning `sim`.
    pub(crate) fn random() -> Result<Self, ApiError> {
        let mut key = String::from("sim");
        let mut bytes = [0; 64];
        while key.len() < 3 + RANDOM_CHARACTERS {
            getrandom::fill(&mut bytes).map_err(|_| ApiError::internal(NoRandomBytes))?;
            // Four bytes in 256 are left out, so that every character is as likely as any other.
            let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| usize::from(byte % 62));
            key.extend(fair.take(3 + RANDOM_CHARACTERS - key.len()).map(|at| char::from(ALPHABET[at])));
        }
        Ok(Self(key))
    }

    /// A key that somebody wrote down, if it can travel in the header.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let good = !text.is_empty() && text.len() <= KEY_LIMIT && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(text.to_owned()))
    }

    /// `KEY`, `Simple KEY` or `Bearer KEY`.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let mut words = value.to_str().ok()?.split_ascii_whitespace();
        match (words.next()?, words.next(), words.next()) {
            (key, None, None) => Self::parse(key),
            (scheme, Some(key), None)
                if ["simple", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) =>
            {
                Self::parse(key)
            }
            _ => None,
        }
    }

    /// The key itself, for the one answer that shows it and the file that keeps it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What the database keeps of it. Keys are random and long, so no salt is needed, and looking for
    /// the hash takes a time that tells nothing about the key.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The part of a key of ours that may be shown; it tells a user's keys apart.
    pub(crate) fn mask(&self) -> String {
        let end = self.0.len().saturating_sub(4);
        format!("{}****{}", self.0.get(..7).unwrap_or_default(), self.0.get(end..).unwrap_or_default())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub(crate) struct NoRandomBytes;

/// Anybody whose key is in force.
pub(crate) struct Known(pub(crate) Caller);

impl<S> FromRequestParts<S> for Known
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = ApiKey::of(&parts.headers).ok_or(ApiError::Unauthenticated)?;
        let caller = Store::from_ref(state).caller(key.hash()).await?.ok_or(ApiError::Unauthenticated)?;
        if let Some(note) = parts.extensions.get::<CallerNote>() {
            note.set(&caller);
        }
        Ok(Self(caller))
    }
}

macro_rules! permitted {
    ($($(#[$doc:meta])* $name:ident: $may:path, $refusal:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl<S> FromRequestParts<S> for $name
        where
            S: Send + Sync,
            Store: FromRef<S>,
        {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let Known(caller) = Known::from_request_parts(parts, state).await?;
                if $may(&caller) { Ok(Self) } else { Err(ApiError::Forbidden($refusal)) }
            }
        }
    )*};
}

permitted! {
    /// An administrator.
    Admin: Caller::is_admin, "this takes an admin key";
    /// An administrator or an owner of algorithms.
    RegistryReader: Caller::may_read_registries, "this takes an admin or a standard key";
    /// A webhook, or an administrator.
    RouteReader: Caller::may_read_routes, "this takes a RouteReaderKey or an admin key";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().expect("a header"))]);
        ApiKey::of(&headers).map(|key| key.0)
    }

    #[test]
    fn a_key_is_given_bare_or_with_a_scheme_in_any_case() {
        for value in ["simKEY", "Simple simKEY", "SIMPLE  simKEY", "bearer simKEY"] {
            assert_eq!(key(value).as_deref(), Some("simKEY"), "{value}");
        }
        for value in ["", "Basic simKEY", "Simple a b", &"k".repeat(KEY_LIMIT + 1)] {
            assert_eq!(key(value), None, "{value}");
        }
    }

    #[test]
    fn two_authorization_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "one".parse().expect("a header"));
        headers.append(AUTHORIZATION, "two".parse().expect("a header"));
        assert!(ApiKey::of(&headers).is_none());
    }

    #[test]
    fn a_new_key_has_28_characters_and_a_mask_that_hides_most() {
        let key = ApiKey::random().expect("random bytes");
        assert!(key.reveal().len() == 28 && key.reveal().starts_with("sim"), "{}", key.reveal());
        assert_eq!(key.mask().len(), 15);
        assert_ne!(key.reveal(), ApiKey::random().expect("random bytes").reveal());
    }
}
