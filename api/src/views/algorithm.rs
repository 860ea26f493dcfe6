//! Algorithms and their versions on the wire. What an owner keeps about an algorithm is one document of
//! three sections: `details`, `settings` and `version_info`. A version's own document has the same
//! sections and lies over the algorithm's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Algorithm, Build, BuildStatus, Version};
use utoipa::ToSchema;
use uuid::Uuid;

use super::build::BuildView;
use super::push::PushCredentials;
use crate::body::{Line, Prose, object};
use crate::document;
use crate::error::ApiError;

type NameText = Line<64>;
type ShortText = Line<256>;
type LongText = Prose<16384>;
type Word = Line<64>;

/// What people read about an algorithm.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    label: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    summary: Option<LongText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    tagline: Option<ShortText>,
}

/// Who may call an algorithm.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Callability {
    Public,
    Private,
}

/// Who may read its source.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SourceVisibility {
    Open,
    Closed,
}

/// What it reaches over the network.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NetworkAccess {
    Isolated,
    Full,
}

/// Settings. Those that are not named here are kept as sent and given back.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm_callability: Option<Callability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_visibility: Option<SourceVisibility>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_access: Option<NetworkAccess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    royalty_microcredits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    license: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    language: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    environment: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    package_set: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    algorithm_environment: Option<Word>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What is said about the versions of an algorithm before there is one.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Samples {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    sample_input: Option<LongText>,
}

/// Changes to an algorithm. What is absent or `{}` stays as it is.
#[derive(Deserialize, ToSchema)]
#[schema(as = AlgorithmChange)]
pub(crate) struct ChangeBody {
    #[serde(default, deserialize_with = "object")]
    details: Option<Details>,
    #[serde(default, deserialize_with = "object")]
    settings: Option<Settings>,
    #[serde(default, deserialize_with = "object")]
    version_info: Option<Samples>,
}

impl ChangeBody {
    /// What is to be kept of it.
    pub(crate) fn document(&self) -> Result<Value, ApiError> {
        document::of(&self.details, &self.settings, &self.version_info)
    }
}

/// An algorithm to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = AlgorithmRequest)]
pub(crate) struct CreateBody {
    /// A letter, then letters, digits, `_` or `-`; unique among its owner's, ignoring case.
    #[schema(value_type = String, max_length = 64, example = "echo")]
    pub(crate) name: NameText,
    #[serde(default, deserialize_with = "object")]
    details: Option<Details>,
    #[serde(default, deserialize_with = "object")]
    settings: Option<Settings>,
    #[serde(default, deserialize_with = "object")]
    version_info: Option<Samples>,
}

impl CreateBody {
    /// What is to be kept of it.
    pub(crate) fn document(&self) -> Result<Value, ApiError> {
        document::of(&self.details, &self.settings, &self.version_info)
    }
}

/// Which part of the number a publication raises.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VersionType {
    Major,
    #[default]
    Minor,
    Revision,
}

/// What is said about a published version.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Release {
    /// Absent: `minor`. The first publication is 0.1.0, whatever is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version_type: Option<VersionType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    release_notes: Option<LongText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    sample_input: Option<LongText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    sample_output: Option<LongText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insights_enabled: Option<bool>,
}

/// A publication; everything is optional.
#[derive(Deserialize, ToSchema)]
#[schema(as = PublishRequest)]
pub(crate) struct PublishBody {
    #[serde(default, deserialize_with = "object")]
    details: Option<Details>,
    #[serde(default, deserialize_with = "object")]
    settings: Option<Settings>,
    #[serde(default, deserialize_with = "object")]
    pub(crate) version_info: Option<Release>,
    #[serde(default, deserialize_with = "object")]
    pub(crate) registry_push_credentials: Option<PushCredentials>,
}

impl PublishBody {
    /// What is to be kept of it.
    pub(crate) fn document(&self) -> Result<Value, ApiError> {
        document::of(&self.details, &self.settings, &self.version_info)
    }
}

/// What is shown of a version.
#[derive(Serialize, ToSchema)]
struct VersionInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.1.0")]
    semantic_version: Option<String>,
    /// The version hash; the image's tag in every registry.
    git_hash: String,
    version_uuid: Uuid,
    release_notes: String,
    sample_input: String,
    sample_output: String,
    insights_enabled: bool,
}

/// Whether the newest build found its image.
#[derive(Serialize, ToSchema)]
struct Compilation {
    successful: bool,
    /// The build's log; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// Where the source code is kept: elsewhere. Clients insist on the object.
#[derive(Serialize, ToSchema)]
struct Source {
    scm: Scm,
}

#[derive(Serialize, ToSchema)]
struct Scm {
    id: &'static str,
    provider: &'static str,
    name: &'static str,
    default: bool,
    enabled: bool,
}

/// An algorithm, at one of its versions where it has any.
#[derive(Serialize, ToSchema)]
#[schema(as = Algorithm)]
pub(crate) struct AlgorithmView {
    id: Uuid,
    name: String,
    #[schema(value_type = Details)]
    details: Value,
    #[schema(value_type = Settings)]
    settings: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<VersionInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<BuildView>,
    source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    compilation: Option<Compilation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_link: Option<String>,
    resource_type: &'static str,
}

impl AlgorithmView {
    /// An algorithm as such.
    pub(crate) fn new(algorithm: &Algorithm) -> Self {
        Self::described(algorithm, &algorithm.document)
    }

    /// An algorithm with a build that may have failed.
    pub(crate) fn with_build(algorithm: &Algorithm, build: Build, log: Option<String>) -> Self {
        let compilation = Compilation { successful: build.status == BuildStatus::Succeeded, output: log };
        Self { build: Some(build.into()), compilation: Some(compilation), ..Self::new(algorithm) }
    }

    /// An algorithm with its newest version: what was said of the algorithm since then counts.
    pub(crate) fn with_version(algorithm: &Algorithm, version: Version, log: Option<String>) -> Self {
        Self::new(algorithm).versioned(algorithm, version, log)
    }

    /// An algorithm as it was published in a version.
    pub(crate) fn at_version(algorithm: &Algorithm, version: Version, log: Option<String>) -> Self {
        let document = document::overlaid(&algorithm.document, &version.document);
        Self::described(algorithm, &document).versioned(algorithm, version, log)
    }

    fn described(algorithm: &Algorithm, document: &Value) -> Self {
        let section = |name| document.get(name).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let mut details = section("details");
        if details.get("label").is_none() {
            details["label"] = algorithm.name.as_str().into();
        }
        Self {
            id: algorithm.uuid,
            name: algorithm.name.to_string(),
            details,
            settings: section("settings"),
            version_info: None,
            build: None,
            source: Source {
                scm: Scm { id: "internal", provider: "internal", name: "", default: true, enabled: true },
            },
            compilation: None,
            self_link: None,
            resource_type: "algorithm",
        }
    }

    fn versioned(self, algorithm: &Algorithm, version: Version, log: Option<String>) -> Self {
        let document = document::overlaid(&algorithm.document, &version.document);
        let info = &document["version_info"];
        let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
        let Algorithm { owner, name, .. } = algorithm;
        Self {
            self_link: Some(format!("/v1/algorithms/{owner}/{name}/versions/{}", version.hash)),
            version_info: Some(VersionInfo {
                semantic_version: version.number.map(|number| number.to_string()),
                git_hash: version.hash.to_string(),
                version_uuid: version.uuid,
                release_notes: text("release_notes"),
                sample_input: text("sample_input"),
                sample_output: text("sample_output"),
                insights_enabled: info["insights_enabled"].as_bool().unwrap_or_default(),
            }),
            compilation: Some(Compilation {
                successful: version.build.status == BuildStatus::Succeeded,
                output: log,
            }),
            build: Some(version.build.into()),
            ..self
        }
    }
}
