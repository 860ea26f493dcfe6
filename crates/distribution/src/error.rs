//! What can go wrong between us and one registry, typed: what was being done, and what came instead.
//! `copy` and `api` decide on the types; people read the conversion into a push's failure (`failure`).

mod answer;
mod failure;

use std::fmt;
use std::io;

use domain::reference::{Digest, Repository};
use oci_client::errors::OciErrorCode;

pub use answer::{Answer, Hint};
pub(crate) use answer::{excerpt, retry_after};
pub use failure::Side;

use crate::manifest::ManifestError;
use crate::transport::Blocked;

/// What was being done when a registry failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Proving the login (`GET /v2/`).
    Login,
    /// Asking what a tag or a digest names.
    Resolve,
    /// Reading a manifest.
    ReadManifest,
    /// Writing a manifest.
    WriteManifest,
    /// Asking whether a blob is there.
    FindBlob,
    /// Reading a blob.
    ReadBlob,
    /// Mounting a blob from another repository.
    Mount,
    /// Asking for an upload.
    StartUpload,
    /// Sending a blob.
    Upload,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "checking the login",
            Self::Resolve => "looking up the image in",
            Self::ReadManifest => "reading a manifest from",
            Self::WriteManifest => "writing a manifest to",
            Self::FindBlob => "looking for a blob in",
            Self::ReadBlob => "reading a blob from",
            Self::Mount => "mounting a blob into",
            Self::StartUpload => "starting an upload to",
            Self::Upload => "uploading a blob to",
        })
    }
}

/// Why one request to one registry, or one answer of it, was no good.
#[derive(Debug, thiserror::Error)]
#[error("{registry}: {action}{}", .repository.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
pub struct Error {
    /// The registry's host, as its address spells it.
    pub registry: String,
    /// The repository, where the request named one.
    pub repository: Option<Repository>,
    /// What was being done.
    pub action: Action,
    /// What came instead.
    #[source]
    pub cause: Cause,
}

/// What came instead of the answer.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No connection could be made to the registry itself.
    #[error("no connection: {0}")]
    Connect(String),
    /// No connection could be made to a host that the registry led us to.
    #[error("no connection to {host}, where the registry led: {problem}")]
    ConnectElsewhere {
        /// The other host.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The TLS certificate is not trusted, names another host or has expired.
    #[error("its TLS certificate is refused: {0}")]
    Certificate(String),
    /// A connection broke, or an answer was cut short.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came or went for too long.
    #[error("nothing came for {0} seconds")]
    Stalled(u64),
    /// Less came or went than the lowest rate that is waited for.
    #[error("only {bytes} bytes came or went in {seconds} seconds, which is too slow to wait for")]
    Slow {
        /// In that time.
        bytes: u64,
        /// The time.
        seconds: u64,
    },
    /// The registry asks for a proof that we cannot give.
    #[error("it asks for {0} authentication; only Bearer and Basic are spoken")]
    Challenge(String),
    /// The registry asks for a login and there is none.
    #[error("it asks for a login and none is known")]
    LoginMissing,
    /// The registry or its token service does not accept the login.
    #[error("the login is refused: {0}")]
    LoginRefused(Box<Answer>),
    /// The registry took the login before, and refuses it with a body that was not sent again.
    #[error("the login, which was taken before, is refused: {0}")]
    LoginDoubted(Box<Answer>),
    /// The login is good, or there is none, and does not reach as far as this.
    #[error("access is denied: {0}")]
    Denied(Box<Answer>),
    /// A token that was good has run out while a body was sent; another one was not asked for.
    #[error("the token ran out in the middle of a transfer")]
    TokenExpired,
    /// The token service fails or answers nonsense.
    #[error("its token service {host}: {problem}")]
    TokenService {
        /// The host of the token service.
        host: String,
        /// What went wrong.
        problem: String,
        /// How long it asked us to stay away.
        retry_after: Option<std::time::Duration>,
    },
    /// Any other status than the one hoped for.
    #[error("{0}")]
    Status(Box<Answer>),
    /// A realm, a location or a redirect led where it must not.
    #[error("it leads to {to}, which is refused: {why}")]
    Misled {
        /// The host it names.
        to: String,
        /// The rule.
        why: &'static str,
    },
    /// An answer outside the specification.
    #[error("its answer is outside the specification: {0}")]
    Protocol(String),
    /// A manifest or a small blob is larger than we take.
    #[error("more than {limit} bytes came")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Bytes are not those that the digest or the size stands for.
    #[error("the bytes are not those of {digest}: {what}")]
    Mismatch {
        /// The digest asked for.
        digest: Digest,
        /// How they differ.
        what: String,
    },
    /// A manifest that cannot be read or copied.
    #[error("the manifest {digest} cannot be used")]
    Manifest {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        problem: ManifestError,
    },
}

impl Error {
    /// The registry's answer, where a whole answer came from it.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.cause {
            Cause::LoginRefused(answer)
            | Cause::LoginDoubted(answer)
            | Cause::Denied(answer)
            | Cause::Status(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether this is a plain "not there" (404).
    pub fn is_absence(&self) -> bool {
        matches!(&self.cause, Cause::Status(answer) if answer.status == http::StatusCode::NOT_FOUND)
    }

    /// Whether bytes, or how many there are, are not what was asked for.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self.cause, Cause::Mismatch { .. })
    }

    /// Whether a registry that was sent a blob may mean that its bytes are not those of its digest.
    pub fn refuses_bytes(&self) -> bool {
        let invalid =
            [OciErrorCode::DigestInvalid, OciErrorCode::BlobUploadInvalid, OciErrorCode::SizeInvalid];
        self.action == Action::Upload
            && !self.is_absence()
            && self.answer().is_some_and(|answer| {
                answer.status == http::StatusCode::BAD_REQUEST || invalid.iter().any(|code| answer.has(code))
            })
    }

    /// Whether a manifest was refused because of a blob that it names.
    pub fn misses_blob(&self) -> bool {
        // docker-registry says that a digest is invalid of a blob whose link is just being written.
        let missing =
            [OciErrorCode::BlobUnknown, OciErrorCode::ManifestBlobUnknown, OciErrorCode::DigestInvalid];
        self.action == Action::WriteManifest
            && self.answer().is_some_and(|answer| missing.iter().any(|code| answer.has(code)))
    }
}

/// What reqwest met, without its URL, which may carry a signature.
pub(crate) fn cause_of(error: &reqwest::Error, host: &str, at_home: bool) -> Cause {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    let mut kind = None;
    loop {
        if innermost.is::<Blocked>() {
            return Cause::Misled { to: host.to_owned(), why: Blocked::WHY };
        }
        if let Some(tls) = innermost.downcast_ref::<rustls::Error>() {
            return of_tls(tls, host, at_home);
        }
        // An io::Error names the source of what it wraps as its own, and so would hide it.
        let io = innermost.downcast_ref::<io::Error>();
        kind = io.map(io::Error::kind).or(kind);
        let wrapped =
            io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn std::error::Error + 'static));
        match wrapped.or_else(|| std::error::Error::source(innermost)) {
            Some(next) => innermost = next,
            None => break,
        }
    }
    let problem = match kind {
        _ if error.is_dns() => format!("the name does not resolve ({innermost})"),
        Some(io::ErrorKind::ConnectionRefused) => "the connection is refused".to_owned(),
        _ if error.is_connect() && error.is_timeout() => "to connect takes longer than 10 seconds".to_owned(),
        _ => innermost.to_string(),
    };
    // Whoever hangs up in the middle of TLS is there.
    let hung_up = matches!(kind, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset));
    match (error.is_connect() && !hung_up, at_home) {
        (true, true) => Cause::Connect(problem),
        (true, false) => Cause::ConnectElsewhere { host: host.to_owned(), problem },
        (false, true) => Cause::Broken(problem),
        (false, false) => Cause::Broken(format!("{problem} (with {host}, where the registry led)")),
    }
}

fn of_tls(tls: &rustls::Error, host: &str, at_home: bool) -> Cause {
    match tls {
        rustls::Error::InvalidCertificate(problem) if at_home => Cause::Certificate(problem.to_string()),
        rustls::Error::InvalidCertificate(problem) => {
            Cause::Certificate(format!("{problem} (the certificate of {host})"))
        }
        rustls::Error::InvalidMessage(_) => {
            Cause::Broken(format!("{host} does not speak TLS (an address of plain HTTP begins with http://)"))
        }
        _ => Cause::Broken(format!("TLS with {host}: {tls}")),
    }
}
