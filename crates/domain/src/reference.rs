//! Image references: the parser that admission runs on every image of every pod, and the owned parts
//! of a reference that the rest of Drayage keeps. The grammar is that of the `distribution/reference`
//! library, which the kubelet and every container engine use; there is no I/O and, for references
//! that name their host in lower case, no heap.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The longest name (host and repository) that the grammar allows, in bytes.
pub const NAME_LIMIT: usize = 255;

/// Docker Hub's host as references spell it; a reference without a host means it.
pub const DOCKER_HUB: &str = "docker.io";

/// Why a text is not the part of a reference that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No host, IPv4 or bracketed IPv6 address with an optional port.
    #[error("the host is not a DNS name or an address with an optional port")]
    Host,
    /// Not lower-case path components divided by `/`.
    #[error("a repository is lower-case letters and digits, divided by `/`, `.`, `_`, `__` or `-`")]
    Repository,
    /// Longer than [`NAME_LIMIT`].
    #[error("host and repository are longer than 255 characters")]
    Length,
    /// Not a tag of the OCI distribution spec.
    #[error("a tag is 1 to 128 letters, digits, `_`, `.` or `-`, and begins with none of the last two")]
    Tag,
    /// Not a digest of a registered algorithm.
    #[error("a digest is `sha256:` or `sha512:` and its lower-case hex digits")]
    Digest,
}

/// A reference taken apart and normalised: `redis`, `docker.io/library/redis` and
/// `index.docker.io/redis` are equal. It borrows from the text where nothing had to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    host: Cow<'a, str>,
    repository: Cow<'a, str>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Parses a reference as a pod names it.
    ///
    /// # Errors
    /// The first part that the grammar refuses.
    pub fn parse(text: &'a str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
            None => (text, None),
        };
        // A colon after the last slash divides name and tag; an earlier one belongs to the port.
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        let (host, path) = split_host(name);
        let host = normalised_host(host)?;
        if !is_repository(path) {
            return Err(ReferenceError::Repository);
        }
        // Sixty-four hex digits alone are an image's id to a container engine, never a name.
        if name.len() == 64 && is_lower_hex(name) {
            return Err(ReferenceError::Repository);
        }
        let repository = if host == DOCKER_HUB && !path.contains('/') {
            Cow::Owned(format!("library/{path}"))
        } else {
            Cow::Borrowed(path)
        };
        if host.len() + 1 + repository.len() > NAME_LIMIT {
            return Err(ReferenceError::Length);
        }
        Ok(Self { host, repository, tag, digest })
    }

    /// The host with its port, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository inside the registry, without the host.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag as written; without tag and digest an engine takes `latest`.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest as written. Where there is one, an engine ignores the tag.
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }
}

fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, path)) if names_a_host(first) => (first, path),
        _ => (DOCKER_HUB, name),
    }
}

/// Whether the first component of a reference is a host rather than a component of a Docker Hub name.
fn names_a_host(first: &str) -> bool {
    first == "localhost"
        || first.bytes().any(|byte| matches!(byte, b'.' | b':' | b'[') || byte.is_ascii_uppercase())
}

fn normalised_host(host: &str) -> Result<Cow<'_, str>, ReferenceError> {
    if !is_host(host) {
        return Err(ReferenceError::Host);
    }
    let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    // One address has many spellings: `[0:0:0:0:0:0:0:1]:05000` is `[::1]:5000`.
    let host = if host.starts_with('[') || host.contains(":0") {
        let (name, port) = split_port(&host);
        let address = name.trim_matches(['[', ']']).parse::<Ipv6Addr>();
        let name = address.map_or(name.to_owned(), |address| format!("[{address}]"));
        Cow::Owned(match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(port) => format!("{name}:{port}"),
            None => name,
        })
    } else {
        host
    };
    Ok(if host == "index.docker.io" { Cow::Borrowed(DOCKER_HUB) } else { host })
}

fn is_host(host: &str) -> bool {
    let (name, port) = split_port(host);
    if !port.is_none_or(is_port) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// A host without its port, brackets and all, and the port's digits.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_repository(path: &str) -> bool {
    path.split('/').all(is_component)
}

/// Whether this is one path component: lower-case letters and digits, with `.`, `_`, `__` or any
/// number of `-` only between them.
pub fn is_component(component: &str) -> bool {
    let mut divider: &[u8] = b"";
    let bytes = component.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => {
                let legal =
                    matches!(divider, b"" | b"." | b"_" | b"__") || divider.iter().all(|b| *b == b'-');
                if !legal {
                    return false;
                }
                divider = b"";
                start = at + 1;
            }
            b'.' | b'_' | b'-' if at > 0 => divider = &bytes[start..=at],
            _ => return false,
        }
    }
    !component.is_empty() && divider.is_empty()
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn checked_digest(digest: &str) -> Result<&str, ReferenceError> {
    let good = match digest.split_once(':') {
        Some(("sha256", hex)) => hex.len() == 64 && is_lower_hex(hex),
        Some(("sha512", hex)) => hex.len() == 128 && is_lower_hex(hex),
        _ => false,
    };
    if good { Ok(digest) } else { Err(ReferenceError::Digest) }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ReferenceError;

            fn from_str(text: &str) -> Result<Self, ReferenceError> {
                let check: fn(&str) -> Result<Cow<'_, str>, ReferenceError> = $check;
                Ok(Self(check(text)?.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// The host of a registry with its optional port, in lower case; `index.docker.io` is `docker.io`.
    /// It is one that a reference can name: a dot, a port or `localhost` tells it from a path component.
    Host,
    |text| match normalised_host(text)? {
        host if names_a_host(&host) => Ok(host),
        _ => Err(ReferenceError::Host),
    }
);
checked_text!(
    /// A repository inside one registry: path components divided by `/`, at most [`NAME_LIMIT`] bytes.
    Repository,
    |text| match text {
        _ if text.len() > NAME_LIMIT => Err(ReferenceError::Length),
        _ if is_repository(text) => Ok(Cow::Borrowed(text)),
        _ => Err(ReferenceError::Repository),
    }
);
checked_text!(
    /// A tag (OCI distribution spec, "Pulling manifests").
    Tag,
    |text| if is_tag(text) { Ok(Cow::Borrowed(text)) } else { Err(ReferenceError::Tag) }
);
checked_text!(
    /// A digest of a registered algorithm (OCI image spec, "Digests").
    Digest,
    |text| checked_digest(text).map(Cow::Borrowed)
);

impl Host {
    /// The port as written, if one is.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1?.parse().ok()
    }
}

impl Repository {
    /// This repository below a path of the registry.
    ///
    /// # Errors
    /// [`ReferenceError::Length`] when both together are too long for a reference.
    pub fn below(&self, path: Option<&Repository>) -> Result<Self, ReferenceError> {
        match path {
            None => Ok(self.clone()),
            Some(path) => format!("{path}/{self}").parse(),
        }
    }
}

impl Digest {
    /// The algorithm's name, `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The first 40 hex digits, which are always a legal tag.
    pub fn short_tag(&self) -> Tag {
        Tag(self.hex().chars().take(40).collect::<String>().into())
    }

    /// The lower-case hex digits after the algorithm.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

#[cfg(test)]
mod tests;
