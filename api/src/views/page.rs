//! One page of a list. Most lists are newest first.

use serde::Serialize;
use utoipa::ToSchema;

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What to give as `marker` for the next page; `null` on the last one.
    pub(crate) marker: Option<String>,
    /// The path of the next page; `null` on the last one.
    pub(crate) next_link: Option<String>,
    pub(crate) results: Vec<T>,
}
