//! A push: the intent that an image lies at one destination reference, and the record of how that went.
//! What follows an outcome is decided here, purely; the syncer acts on it and the store records it.

mod hold;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

pub use hold::{Hold, Looked};

/// How far a push has come; the documented vocabulary of builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushStatus {
    /// Waits for a worker, or for its next try.
    Pending,
    /// A worker holds its lease.
    InProgress,
    /// The image was read back with the registry's READ credentials.
    Succeeded,
    /// Over until somebody asks again.
    Failed,
}

/// Every way in which a push fails or waits; scripts and alerts rely on the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The source registry does not hold the image.
    SourceMissing,
    /// The source registry cannot be reached or answers with errors of its own.
    SourceUnreachable,
    /// The source registry refuses our login or its rights.
    SourceDenied,
    /// Bytes from the source do not match their digest.
    SourceCorrupt,
    /// The destination cannot be reached or answers with errors of its own.
    DestinationUnreachable,
    /// The destination does not accept the username and password.
    CredentialsRefused,
    /// The destination knows the login, which may not push there.
    Denied,
    /// Pushed, but the READ credentials cannot pull it.
    NotPullable,
    /// The tag is immutable and names another digest.
    Conflict,
    /// The destination withholds the image until its scan is over.
    ScanBlocked,
    /// The destination asks for fewer requests.
    RateLimited,
    /// The destination has no room.
    StorageFull,
    /// A registry's TLS certificate is not trusted.
    Certificate,
    /// The token service of a registry fails.
    TokenService,
    /// A media type or an answer that is outside the specification.
    Unsupported,
    /// A manifest or a blob is over a limit.
    TooLarge,
    /// The registry was deleted or moved to another host since the push was asked for.
    RegistryChanged,
    /// A defect of ours, or of our disk.
    Internal,
}

/// What is known of pulling a pushed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pullable {
    /// The registry's READ login pulled it, or nobody's where none is stored.
    Verified,
    /// Only the push's own login pulled it: the registry stores no READ login and refuses nobody's.
    Unverified,
}

macro_rules! words {
    ($name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The public word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or(UnknownWord)
            }
        }
    };
}

/// A kept word that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the word is not of this version's vocabulary")]
pub struct UnknownWord;

words!(PushStatus {
    Pending => "pending",
    InProgress => "in-progress",
    Succeeded => "succeeded",
    Failed => "failed",
});
words!(Pullable {
    Verified => "verified",
    Unverified => "unverified",
});
words!(Reason {
    SourceMissing => "source_missing",
    SourceUnreachable => "source_unreachable",
    SourceDenied => "source_denied",
    SourceCorrupt => "source_corrupt",
    DestinationUnreachable => "destination_unreachable",
    CredentialsRefused => "credentials_refused",
    Denied => "denied",
    NotPullable => "not_pullable",
    Conflict => "conflict",
    ScanBlocked => "scan_blocked",
    RateLimited => "rate_limited",
    StorageFull => "storage_full",
    Certificate => "certificate",
    TokenService => "token_service",
    Unsupported => "unsupported",
    TooLarge => "too_large",
    RegistryChanged => "registry_changed",
    Internal => "internal",
});

impl Reason {
    /// Whether another try may end otherwise without anybody's doing.
    pub fn is_transient(self) -> bool {
        match self {
            Self::SourceUnreachable
            | Self::DestinationUnreachable
            | Self::ScanBlocked
            | Self::RateLimited
            | Self::StorageFull
            | Self::TokenService
            | Self::Internal => true,
            Self::SourceMissing
            | Self::SourceDenied
            | Self::SourceCorrupt
            | Self::CredentialsRefused
            | Self::Denied
            | Self::NotPullable
            | Self::Conflict
            | Self::Certificate
            | Self::Unsupported
            | Self::TooLarge
            | Self::RegistryChanged => false,
        }
    }
}

/// Bytes of blobs and manifests that a try dealt with, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Sent to the destination.
    pub uploaded: u64,
    /// Mounted from another repository of the destination.
    pub mounted: u64,
    /// Already there.
    pub present: u64,
}

impl Moved {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.uploaded + self.mounted + self.present
    }
}

/// Why a try ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The typed code.
    pub reason: Reason,
    /// What came back and what to do about it, for an administrator; never a credential.
    pub message: String,
    /// How long the registry asked us to stay away.
    pub retry_after: Option<Duration>,
    /// No connection could be made to the destination: it is known to be down.
    pub registry_down: bool,
    /// Any other push to the destination would fare the same just now: it is down, its token service
    /// fails, or it asked to be left alone.
    pub registry_wide: bool,
}

impl Failure {
    /// A failure of one push, without a hint about the next try.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after: None,
            registry_down: false,
            registry_wide: false,
        }
    }

    /// The longest that the registry asked us to stay away, within reason.
    fn asked_wait(&self) -> Duration {
        self.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)
    }
}

/// The tries of one generation so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Tries that count, the one that just ended included unless the registry was down.
    pub counted: u32,
    /// When the first try began, moved on by the time spent waiting for a registry that was down.
    pub first_at: Timestamp,
    /// Since when the registry has been known to be down.
    pub down_since: Option<Timestamp>,
}

/// When to stop trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `--max-tries`.
    pub max_tries: u32,
    /// `--give-up-after`, from the first try.
    pub give_up_after: Duration,
}

/// How long a push waits for a registry that is known to be down.
pub const DOWN_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longer than that nobody stays away on a word: a registry that asks for an hour may be back in a minute.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What follows a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The push is due again at this moment.
    Again {
        /// The moment.
        due_at: Timestamp,
        /// The tries to record.
        tries: Tries,
    },
    /// The push waits, with all others to its registry, until that is found back.
    Held {
        /// The tries to record.
        tries: Tries,
    },
    /// The push has failed for good.
    Over,
}

/// Decides what follows a try that failed at `now`. `jitter` is a random number in 0..1; it spreads the
/// next tries of many pushes over the second half of their wait.
pub fn after_failure(
    before: Tries,
    failure: &Failure,
    policy: RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Next {
    if !failure.reason.is_transient() {
        return Next::Over;
    }
    if failure.registry_down {
        let since = before.down_since.unwrap_or(now);
        return if now >= later(since, DOWN_LIMIT) {
            Next::Over
        } else {
            Next::Held { tries: Tries { down_since: Some(since), ..before } }
        };
    }
    let waited = before.down_since.map_or(Duration::ZERO, |since| between(since, now));
    let tries = Tries {
        counted: before.counted.saturating_add(1),
        first_at: later(before.first_at, waited),
        down_since: None,
    };
    let wait = jittered(doubled(tries.counted), LONGEST_WAIT, jitter).max(failure.asked_wait());
    let due_at = later(now, wait);
    if tries.counted >= policy.max_tries || due_at > later(tries.first_at, policy.give_up_after) {
        Next::Over
    } else {
        Next::Again { due_at, tries }
    }
}

/// What an administrator reads about a push whose try failed: what came back, and what follows.
/// `None` where that is told of its registry as a whole.
pub fn waiting_message(failure: &Failure, next: &Next, policy: RetryPolicy) -> Option<String> {
    let message = failure.message.trim_end_matches('.');
    match next {
        Next::Over if failure.reason.is_transient() => Some(given_up(message)),
        Next::Over => Some(failure.message.clone()),
        Next::Held { .. } => None,
        Next::Again { due_at, tries } => {
            Some(format!("{message}; try {} of {}, next at {due_at:.0}", tries.counted, policy.max_tries))
        }
    }
}

/// What an administrator reads about a push that waited for too long.
pub fn given_up(message: &str) -> String {
    format!("{}; given up, push it again once that is mended", message.trim_end_matches('.'))
}

fn doubled(times: u32) -> Duration {
    FIRST_WAIT * 2u32.saturating_pow(times.saturating_sub(1).min(16))
}

fn jittered(wait: Duration, longest: Duration, jitter: f64) -> Duration {
    wait.min(longest).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    moment.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
