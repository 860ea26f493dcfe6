//! A registry and its address: host, path and whether plain HTTP is spoken there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reference::{Host, ReferenceError, Repository, Tag};

/// The longest `registry_url`, in characters.
pub const URL_LIMIT: usize = 128;

/// Identifies a registry to administrators; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegistryId(pub Uuid);

impl fmt::Display for RegistryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no address. No variant repeats the text: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `http` nor `https`.
    #[error("the only schemes are `https://` (the default) and `http://`")]
    Scheme,
    /// `user:password@` in front of the host.
    #[error(
        "a login does not belong into an address; give it apart, as registry_username and registry_password or in --registry-auth-file"
    )]
    Login,
    /// A query, a fragment or white space.
    #[error("an address is host[:port][/path] without a query, a fragment or spaces")]
    Form,
    /// The host is not one that a reference can name.
    #[error(
        "the host is a DNS name with a dot, an address, `localhost`, or anything with a port (without one of these an image reference would mean Docker Hub)"
    )]
    Host,
    /// The path is not made of repository components.
    #[error("the path is lower-case letters and digits, divided by `/`, `.`, `_`, `__` or `-`")]
    Path,
    /// Longer than [`URL_LIMIT`].
    #[error("an address is 1 to 128 characters long")]
    Length,
}

/// Where a registry is at one time. Written `[http://]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: Host,
    path: Option<Repository>,
    plain_http: bool,
}

impl Address {
    /// An address from its parts.
    pub fn new(host: Host, path: Option<Repository>, plain_http: bool) -> Self {
        Self { host, path, plain_http }
    }

    /// The host with its port.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path below which the repositories lie.
    pub fn path(&self) -> Option<&Repository> {
        self.path.as_ref()
    }

    /// Whether HTTP without TLS is spoken, because the administrator said so.
    pub fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// Whether a login for `self` may be sent to `other`: the same scheme, host and port.
    pub fn same_host(&self, other: &Self) -> bool {
        self.plain_http == other.plain_http && self.host == other.host
    }

    /// The full repository of an image here.
    ///
    /// # Errors
    /// [`ReferenceError::Length`] when the reference would be too long.
    pub fn repository(&self, repository: &Repository) -> Result<Repository, ReferenceError> {
        let full = repository.below(self.path.as_ref())?;
        if self.host.as_str().len() + 1 + full.as_str().len() > crate::reference::NAME_LIMIT {
            return Err(ReferenceError::Length);
        }
        Ok(full)
    }

    /// The reference of an image here, without a scheme.
    ///
    /// # Errors
    /// [`ReferenceError::Length`] when the reference would be too long.
    pub fn reference(&self, repository: &Repository, tag: &Tag) -> Result<String, ReferenceError> {
        Ok(format!("{}/{}:{tag}", self.host, self.repository(repository)?))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() || text.chars().count() > URL_LIMIT {
            return Err(AddressError::Length);
        }
        let (plain_http, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (true, rest),
            Some(_) => return Err(AddressError::Scheme),
            None => (false, text),
        };
        if rest.contains('@') {
            return Err(AddressError::Login);
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\')) {
            return Err(AddressError::Form);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (rest, None),
        };
        let host = host.parse().map_err(|_| AddressError::Host)?;
        let path = path.map(str::parse).transpose().map_err(|_| AddressError::Path)?;
        Ok(Self { host, path, plain_http })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain_http {
            f.write_str("http://")?;
        }
        self.host.fmt(f)?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_would_be_written() {
        let cases = [
            ("algorithmiainfra.jfrog.io/dockerhub", "algorithmiainfra.jfrog.io/dockerhub"),
            ("https://Harbor.example:443/a/b/", "harbor.example:443/a/b"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("[::1]:5000/x", "[::1]:5000/x"),
        ];
        for (text, printed) in cases {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        let long = format!("h.example/{}", "a".repeat(200));
        let cases = [
            ("", AddressError::Length),
            (long.as_str(), AddressError::Length),
            ("ftp://h.example", AddressError::Scheme),
            ("ann:hunter2@h.example/x", AddressError::Login),
            ("h.example/x?y=z", AddressError::Form),
            ("h.example/x y", AddressError::Form),
            ("harbor/project", AddressError::Host),
            ("h.example:99999", AddressError::Host),
            ("h.example/Upper", AddressError::Path),
            ("h.example//x", AddressError::Path),
            ("http://", AddressError::Host),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_login_moves_neither_to_another_port_nor_to_a_weaker_scheme() {
        let address = |text: &str| text.parse::<Address>().expect("legal");
        assert!(address("h.example/a").same_host(&address("https://h.example/b")));
        assert!(!address("h.example").same_host(&address("http://h.example")));
        assert!(!address("h.example:5000").same_host(&address("h.example:5001")));
    }
}
