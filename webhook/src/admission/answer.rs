//! The AdmissionReview response (admission.k8s.io/v1). Kube's type writes the patch as an array of numbers,
//! four times as long as the base64 that the API's documents promise, so this is our own; kube's is the
//! oracle of the tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use routing::Mutation;
use serde::Serialize;

/// Room for what is usual, in bytes: growing from nothing costs as much as the writing.
const PATCH_ROOM: usize = 1000;
const ANSWER_ROOM: usize = 2000;

/// The review that goes back.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'r> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'r>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'r> {
    uid: &'r str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations>,
}

#[derive(Debug, Serialize)]
struct Status {
    status: &'static str,
    code: u16,
    reason: &'static str,
    message: String,
}

/// The server puts the webhook's name before each key, and drops keys with a slash.
#[derive(Debug, Serialize)]
struct AuditAnnotations {
    route: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    push: String,
}

impl<'r> Answer<'r> {
    /// Lets the request through as it is.
    pub(super) fn allowed(uid: &'r str) -> Self {
        Self::new(uid, Mutation::default())
    }

    pub(super) fn new(uid: &'r str, mutation: Mutation) -> Self {
        let Mutation { patch, refusal, warnings, routes, pushes, .. } = mutation;
        // Pointers and strings always serialise.
        let json = (!patch.is_empty()).then(|| json_of(&patch, PATCH_ROOM).unwrap_or_default());
        let patch = json.map(|json| STANDARD.encode(json));
        let audit_annotations = (!routes.is_empty())
            .then(|| AuditAnnotations { route: routes.join("; "), push: pushes.join("; ") });
        let response = Response {
            uid,
            allowed: refusal.is_none(),
            status: refusal.map(|message| Status {
                status: "Failure",
                code: 403,
                reason: "Forbidden",
                message,
            }),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings,
            audit_annotations,
        };
        Self { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }
    }

    /// The answer as it goes over the wire.
    ///
    /// # Errors
    /// None in practice: an answer is made of strings, which always serialise.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        json_of(self, ANSWER_ROOM)
    }

    /// What is told to the person: the refusal, else the warnings.
    pub fn remarks(&self) -> impl Iterator<Item = &str> {
        let refusal = self.response.status.as_ref().map(|status| &*status.message);
        refusal.into_iter().chain(self.response.warnings.iter().map(String::as_str))
    }
}

fn json_of(value: &impl Serialize, room: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = Vec::with_capacity(room);
    serde_json::to_writer(&mut json, value)?;
    Ok(json)
}
