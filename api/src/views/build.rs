//! Builds on the wire.

use serde::{Deserialize, Serialize};
use store::{Build, BuildStatus};
use utoipa::ToSchema;
use uuid::Uuid;

use super::moment;
use super::push::{PushCredentials, PushStatusView};
use crate::body::{Line, object};

type CommitSha = Line<128>;

/// A compile; everything is optional.
#[derive(Deserialize, ToSchema)]
#[schema(as = CompileRequest)]
pub(crate) struct CompileBody {
    #[serde(default, deserialize_with = "object")]
    pub(crate) registry_push_credentials: Option<PushCredentials>,
    /// The tag of the built image in the source registry; without it, `latest`.
    #[serde(rename = "commitSha")]
    #[schema(inline)]
    pub(crate) commit_sha: Option<CommitSha>,
}

/// A build: one compile's look at the source registry.
#[derive(Serialize, ToSchema)]
#[schema(as = Build)]
pub(crate) struct BuildView {
    build_id: Uuid,
    /// `succeeded` or `failed`.
    status: &'static str,
    commit_sha: String,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    finished_at: String,
    resource_type: &'static str,
    /// The most recent push of the version that it yielded.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_status: Option<PushStatusView>,
}

impl From<Build> for BuildView {
    fn from(build: Build) -> Self {
        Self {
            build_id: build.uuid,
            status: match build.status {
                BuildStatus::Succeeded => "succeeded",
                BuildStatus::Failed => "failed",
            },
            commit_sha: build.commit_sha,
            started_at: moment(build.started_at),
            finished_at: moment(build.finished_at),
            resource_type: "algorithm_build",
            registry_status: build.registry_status.map(Into::into),
        }
    }
}

/// What a build had to say.
#[derive(Serialize, ToSchema)]
#[schema(as = BuildLogs)]
pub(crate) struct LogsView {
    pub(crate) logs: String,
}
