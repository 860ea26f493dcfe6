//! Why a request is not answered as asked: the status, the public code and the sentence of each case.
//! Handlers return it; `requests` renders it, since it knows the request's id. Details of a failure
//! of ours go to the log alone.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use std::sync::Arc;
use store::{
    CreateAlgorithmError, Dependents, PublishError, PushRefused, RecordError, RemoveError, ReplaceError,
    StoreError,
};

/// A refusal, or a failure of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the name is taken: this owner has an algorithm of that name, in some case")]
    NameTaken,
    #[error("the newest build is published already; compile a new one first")]
    AlreadyPublished,
    #[error("there is no successful build to publish; compile first")]
    NeverBuilt,
    #[error("No such algorithm")]
    AlgorithmUnknown,
    #[error("there is no such build of this algorithm")]
    BuildUnknown,
    #[error("there are no logs: there is no such build of this algorithm")]
    LogsUnknown,
    #[error("there is no such version of this algorithm")]
    VersionUnknown,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("a key is needed that is in force: `Authorization: Simple KEY`")]
    Unauthenticated,
    #[error("the body is not JSON: {0}")]
    MalformedJson(String),
    #[error("there is nothing at this path; /openapi.json lists what there is")]
    RouteUnknown,
    #[error("this method is not for this path; the header Allow lists those that are")]
    MethodNotAllowed,
    #[error("the request cannot be understood")]
    Unintelligible(StatusCode),
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    #[error("the headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("there is no user of this name; a username comes into being with its first key")]
    UserUnknown,
    #[error("this user has no key in force with this mask")]
    KeyUnknown,
    #[error("`marker` is none that a former page of this list gave out")]
    Marker,
    #[error("`limit` is a whole number from 1")]
    Limit,
    #[error("{0}")]
    Invalid(String),
    #[error(
        "no algorithm of yours was compiled into this repository; an administrator may ask about those of others"
    )]
    ImageUnknown,
    #[error("there is no registry with this id")]
    RegistryUnknown,
    #[error("`registry_id` names no registry; GET /v1/registries lists them")]
    RegistryNamedUnknown,
    #[error("the registry is in use by {0}; without if_unused=true it is deleted all the same")]
    RegistryInUse(Dependency),
    #[error("the registry is cordoned: it takes no new pushes until an administrator lets them in again")]
    RegistryCordoned,
    #[error(
        "`registry_url` names another scheme, host or port: give `registry_username` and `registry_password` again (or \"\" for none), since the stored ones are never sent elsewhere; nothing was changed"
    )]
    LoginNeeded,
    #[error(
        "there is no registry to push to again: the version was not pushed anywhere yet, or that registry is gone; give `registry_push_credentials` with a `registry_id`"
    )]
    NothingToRepeat,
    #[error("`registry_url` and the algorithm's names together are longer than a reference may be")]
    ReferenceTooLong,
    #[error("the request took too long and was given up")]
    TimedOut,
    #[error("an internal error; the log has the detail under this id")]
    Internal(#[source] anyhow::Error),
    #[error("the database is busy; try again")]
    Busy(#[source] StoreError),
    #[error("the disk of the database is full; try again when there is room")]
    DatabaseFull(#[source] StoreError),
    #[error("the database is gone; try again when it is back")]
    DatabaseGone(#[source] StoreError),
}

/// What depends on a registry, in words.
#[derive(Debug)]
pub(crate) struct Dependency(pub(crate) Box<Dependents>);

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Dependents { versions, pushes_pending, pushes_running, pods, .. } = &*self.0;
        let pods: &dyn std::fmt::Display = match pods.seen_at {
            Some(_) => &pods.found.count,
            None => &"an unknown number of",
        };
        write!(
            f,
            "{versions} versions that are pulled from it, {pods} running pods, {pushes_pending} pending and {pushes_running} running pushes"
        )
    }
}

/// The codes of our own, with what each means, for the OpenAPI document.
pub(crate) const OUR_CODES: [(u16, &str); 7] = [
    (7001, "there is no registry with this id"),
    (7002, "the registry is in use"),
    (7003, "the registry is cordoned: it takes no new pushes"),
    (7004, "the stored login is not sent to another host; give it again"),
    (7005, "the version was not pushed to any registry that still exists, so there is nothing to repeat"),
    (7006, "address and names together are longer than a reference may be"),
    (7007, "no algorithm of the caller's was compiled into the repository of the image"),
];

impl ApiError {
    /// An error of ours; callers see a generic sentence.
    pub(crate) fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The public code.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::NameTaken => 1002,
            Self::AlreadyPublished => 1007,
            Self::AlgorithmUnknown => 1009,
            Self::NeverBuilt | Self::BuildUnknown => 1010,
            Self::LogsUnknown => 1011,
            Self::VersionUnknown => 1014,
            Self::Forbidden(_) => 2001,
            Self::Unauthenticated => 2002,
            Self::MalformedJson(_) => 2013,
            Self::RouteUnknown
            | Self::MethodNotAllowed
            | Self::Unintelligible(_)
            | Self::BodyTooLarge(_)
            | Self::HeadersTooLarge(_)
            | Self::BodyTooSlow
            | Self::KeyUnknown => 2015,
            Self::UserUnknown => 3000,
            Self::TimedOut
            | Self::Internal(_)
            | Self::Busy(_)
            | Self::DatabaseFull(_)
            | Self::DatabaseGone(_) => 5001,
            Self::Marker => 5002,
            Self::Limit => 5003,
            Self::Invalid(_) => 6001,
            Self::RegistryUnknown | Self::RegistryNamedUnknown => 7001,
            Self::RegistryInUse(_) => 7002,
            Self::RegistryCordoned => 7003,
            Self::LoginNeeded => 7004,
            Self::NothingToRepeat => 7005,
            Self::ReferenceTooLong => 7006,
            Self::ImageUnknown => 7007,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NameTaken | Self::AlreadyPublished | Self::RegistryInUse(_) | Self::RegistryCordoned => {
                StatusCode::CONFLICT
            }
            Self::AlgorithmUnknown
            | Self::BuildUnknown
            | Self::LogsUnknown
            | Self::VersionUnknown
            | Self::RouteUnknown
            | Self::UserUnknown
            | Self::KeyUnknown
            | Self::ImageUnknown
            | Self::RegistryUnknown => StatusCode::NOT_FOUND,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unintelligible(status) => *status,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TimedOut | Self::Busy(_) | Self::DatabaseFull(_) | Self::DatabaseGone(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NeverBuilt
            | Self::MalformedJson(_)
            | Self::Marker
            | Self::Limit
            | Self::Invalid(_)
            | Self::RegistryNamedUnknown
            | Self::LoginNeeded
            | Self::NothingToRepeat
            | Self::ReferenceTooLong => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked(_) => Self::Busy(error),
            StoreError::Full(_) => Self::DatabaseFull(error),
            StoreError::Gone(_) => Self::DatabaseGone(error),
            error => Self::internal(error),
        }
    }
}

impl From<PushRefused> for ApiError {
    fn from(refused: PushRefused) -> Self {
        match refused {
            PushRefused::RegistryUnknown => Self::RegistryNamedUnknown,
            PushRefused::RegistryCordoned => Self::RegistryCordoned,
            PushRefused::ReferenceTooLong => Self::ReferenceTooLong,
        }
    }
}

impl From<CreateAlgorithmError> for ApiError {
    fn from(error: CreateAlgorithmError) -> Self {
        match error {
            CreateAlgorithmError::NameTaken => Self::NameTaken,
            CreateAlgorithmError::Store(error) => error.into(),
        }
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Unknown => Self::AlgorithmUnknown,
            RecordError::Push(refused) => refused.into(),
            RecordError::Store(error) => error.into(),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unknown => Self::AlgorithmUnknown,
            PublishError::NeverBuilt => Self::NeverBuilt,
            PublishError::AlreadyPublished => Self::AlreadyPublished,
            PublishError::Push(refused) => refused.into(),
            PublishError::Store(error) => error.into(),
        }
    }
}

impl From<ReplaceError> for ApiError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Unknown => Self::RegistryUnknown,
            ReplaceError::LoginNeeded => Self::LoginNeeded,
            ReplaceError::Store(error) => error.into(),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Unknown => Self::RegistryUnknown,
            RemoveError::InUse(dependents) => Self::RegistryInUse(Dependency(dependents)),
            RemoveError::Store(error) => error.into(),
        }
    }
}
