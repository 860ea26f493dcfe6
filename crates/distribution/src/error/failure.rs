//! From a registry's error to a push's failure: the typed reason, and a message that names the
//! registry, the repository, what came back and what to do next.

use std::error::Error as _;

use domain::push::{Failure, Reason};
use http::StatusCode;
use oci_client::errors::OciErrorCode;

use super::{Action, Answer, Cause, Error, Hint};

/// Which end of a copy a registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the image was built into.
    Source,
    /// Where it is pushed to.
    Destination,
}

impl Error {
    /// This error as the end of a try.
    pub fn failure(&self, side: Side) -> Failure {
        let reason = self.reason(side);
        let answered = matches!(self.cause, Cause::Status(_));
        let advice = match reason {
            Reason::DestinationUnreachable if self.is_mismatch() => {
                "What the registry holds of that digest is damaged, or a gateway changes what it sends; have it deleted there, then push again."
            }
            Reason::DestinationUnreachable if answered => {
                "The registry is there and answers otherwise than it should; its own log may say why."
            }
            Reason::TooLarge if matches!(self.cause, Cause::TooLarge { .. }) => {
                "That is the most that Drayage takes of it; build the image with fewer parts."
            }
            reason => advice(reason),
        };
        Failure {
            reason,
            message: format!("{}. {advice}", self.told()),
            retry_after: match &self.cause {
                Cause::TokenService { retry_after, .. } => *retry_after,
                _ => self.answer().and_then(|answer| answer.retry_after),
            },
            registry_down: side == Side::Destination && matches!(self.cause, Cause::Connect(_)),
            registry_wide: side == Side::Destination && self.is_registry_wide(),
        }
    }

    /// Whether the registry would answer whatever else it were asked in the same way just now.
    fn is_registry_wide(&self) -> bool {
        match &self.cause {
            Cause::Connect(_) | Cause::TokenService { .. } => true,
            // The smallest of questions; what hangs later may be one image's affair.
            Cause::Stalled(_) => self.action == Action::Resolve,
            Cause::Status(answer) => {
                let busy =
                    matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                busy && answer.retry_after.is_some() && answer.elsewhere.is_none()
            }
            _ => false,
        }
    }

    /// What happened, with its causes, without what to do about it.
    pub fn told(&self) -> String {
        let mut message = self.to_string();
        let mut level = self.source();
        while let Some(error) = level {
            message = format!("{message}: {error}");
            level = error.source();
        }
        message
    }

    fn reason(&self, side: Side) -> Reason {
        let (unreachable, denied) = match side {
            Side::Source => (Reason::SourceUnreachable, Reason::SourceDenied),
            Side::Destination => (Reason::DestinationUnreachable, Reason::Denied),
        };
        match &self.cause {
            Cause::Connect(_)
            | Cause::ConnectElsewhere { .. }
            | Cause::Broken(_)
            | Cause::Stalled(_)
            | Cause::Slow { .. }
            | Cause::TokenExpired => unreachable,
            Cause::Certificate(_) => Reason::Certificate,
            Cause::LoginMissing | Cause::LoginRefused(_) => match side {
                Side::Source => Reason::SourceDenied,
                Side::Destination => Reason::CredentialsRefused,
            },
            Cause::Denied(_) | Cause::LoginDoubted(_) => denied,
            Cause::TokenService { .. } => Reason::TokenService,
            Cause::Misled { .. } | Cause::Protocol(_) | Cause::Challenge(_) | Cause::Manifest { .. } => {
                Reason::Unsupported
            }
            Cause::TooLarge { .. } => Reason::TooLarge,
            Cause::Mismatch { .. } => match side {
                Side::Source => Reason::SourceCorrupt,
                Side::Destination => unreachable,
            },
            // The registry has led us to a storage that does not take what the registry signed.
            Cause::Status(answer)
                if answer.elsewhere.is_some()
                    && matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                unreachable
            }
            Cause::Status(answer) => match side {
                Side::Source => of_source(answer),
                Side::Destination => of_destination(answer, self.action),
            },
        }
    }
}

fn of_source(answer: &Answer) -> Reason {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Reason::SourceMissing,
        StatusCode::TOO_MANY_REQUESTS => Reason::RateLimited,
        StatusCode::REQUEST_TIMEOUT => Reason::SourceUnreachable,
        StatusCode::PRECONDITION_FAILED => Reason::SourceDenied,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Reason::SourceDenied,
        status if status.is_server_error() => Reason::SourceUnreachable,
        _ => Reason::Unsupported,
    }
}

fn of_destination(answer: &Answer, action: Action) -> Reason {
    let writes_manifest = action == Action::WriteManifest;
    match (answer.status, answer.hint) {
        (StatusCode::TOO_MANY_REQUESTS, _) => Reason::RateLimited,
        _ if answer.has(&OciErrorCode::Toomanyrequests) => Reason::RateLimited,
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Reason::TooLarge,
        (StatusCode::INSUFFICIENT_STORAGE, _) | (_, Some(Hint::Full)) => Reason::StorageFull,
        (status, Some(Hint::Immutable)) if writes_manifest && status.is_client_error() => Reason::Conflict,
        (StatusCode::CONFLICT, _) if writes_manifest => Reason::Conflict,
        (StatusCode::PRECONDITION_FAILED | StatusCode::FORBIDDEN, Some(Hint::Scan)) => Reason::ScanBlocked,
        // The answer to a HEAD has no words; nothing but a scan's policy answers it with 412.
        (StatusCode::PRECONDITION_FAILED, _) if action == Action::Resolve => Reason::ScanBlocked,
        (StatusCode::FORBIDDEN | StatusCode::PRECONDITION_FAILED | StatusCode::UNAUTHORIZED, _) => {
            Reason::Denied
        }
        // Some registries want their repositories made beforehand.
        (StatusCode::NOT_FOUND, _) if action == Action::StartUpload => Reason::Denied,
        // Sessions that are forgotten and blobs that are lost are gone at the next try.
        (StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            Reason::DestinationUnreachable
        }
        (StatusCode::REQUEST_TIMEOUT, _) => Reason::DestinationUnreachable,
        (status, _) if status.is_server_error() => Reason::DestinationUnreachable,
        _ if [
            OciErrorCode::BlobUnknown,
            OciErrorCode::BlobUploadInvalid,
            OciErrorCode::BlobUploadUnknown,
            OciErrorCode::DigestInvalid,
            OciErrorCode::ManifestBlobUnknown,
            OciErrorCode::SizeInvalid,
        ]
        .iter()
        .any(|code| answer.has(code)) =>
        {
            Reason::DestinationUnreachable
        }
        _ if answer.has(&OciErrorCode::Denied) => Reason::Denied,
        _ => Reason::Unsupported,
    }
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::SourceMissing => "The image is not in the source registry (any more); compile again.",
        Reason::SourceUnreachable => "Look whether the source registry is up.",
        Reason::SourceDenied => "Give the syncer a login that may pull there (--registry-auth-file).",
        Reason::SourceCorrupt => {
            "The source registry's storage is damaged, or a gateway changes what it sends; nothing was tagged. Compile again."
        }
        Reason::DestinationUnreachable => {
            "Look whether the registry is up and whether registry_url is right."
        }
        Reason::CredentialsRefused => {
            "Correct the username and password of the push, or those of the registry, and push again."
        }
        Reason::Denied => {
            "Give the login the right to push there (some registries want the repository or project made first) and push again."
        }
        Reason::NotPullable => "Give the registry's stored login the right to pull there and push again.",
        Reason::Conflict => {
            "The tag is immutable and names another image; allow overwriting or delete it there, then push again."
        }
        Reason::ScanBlocked => {
            "The registry withholds the image until its scan is over or its policy is met."
        }
        Reason::RateLimited => {
            "The registry asks for fewer requests; every try waits for as long as it asks, five minutes at most."
        }
        Reason::StorageFull => "Make room in the registry, or raise its quota.",
        Reason::Certificate => {
            "Give the issuing authority with --trusted-ca-file, or correct the certificate's names or dates."
        }
        Reason::TokenService => "Look whether the registry's token service is up and its clock is right.",
        Reason::Unsupported => "The registry or the image does something that Drayage does not support.",
        Reason::TooLarge => {
            "Raise the limit of the registry, or of the gateway in front of it, or make the image smaller."
        }
        Reason::RegistryChanged => "Push again.",
        Reason::Internal => "This is a defect; please report it.",
    }
}
