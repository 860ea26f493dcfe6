//! The body of every answer that is no success. `requests` renders it.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::registry::DependentsView;
use crate::error::ApiError;

/// Every body that is not a success.
#[derive(Serialize, ToSchema)]
#[schema(as = Failure)]
pub(crate) struct FailureView {
    error: ErrorView,
    /// What depends on the registry that was not deleted (7002).
    #[serde(skip_serializing_if = "Option::is_none")]
    dependents: Option<DependentsView>,
}

/// Why the request was not answered as asked.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
struct ErrorView {
    /// The request's id, also in the header `x-request-id` and in the log.
    id: Uuid,
    /// The public code.
    code: u16,
    /// One sentence for a person. A field is named by its name in the body.
    message: String,
}

impl FailureView {
    /// What the caller sees of an error.
    pub(crate) fn new(id: Uuid, error: &ApiError) -> Self {
        let dependents = match error {
            ApiError::RegistryInUse(dependency) => Some((&*dependency.0).into()),
            _ => None,
        };
        Self { error: ErrorView { id, code: error.code(), message: error.to_string() }, dependents }
    }
}
