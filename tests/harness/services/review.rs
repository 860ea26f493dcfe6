//! The AdmissionReview that an API server would post, and the pod that it would store.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Answer, Drayage};

/// What the webhook decided about one pod.
#[derive(Debug, Clone)]
pub struct Review {
    /// The `response` of the review.
    pub response: Value,
    /// The pod with the patch applied.
    pub pod: Value,
}

impl Drayage {
    /// Posts a review, well formed or not, and gives what came back.
    pub async fn post_review(&self, review: Vec<u8>) -> Result<Answer> {
        let request = self.client.post(self.webhook_url()?).header("content-type", "application/json");
        let response = request.body(review).send().await?;
        Ok(Answer { status: response.status().as_u16(), text: response.text().await? })
    }

    /// Has a pod admitted, and applies the patch as the API server would.
    pub async fn admit(&self, pod: &Value) -> Result<Review> {
        let answer = self.post_review(creation_of(pod).to_string().into_bytes()).await?.expect(200)?;
        let response = answer["response"].clone();
        ensure!(response["allowed"] == true, "refused: {response}");
        let mut stored = pod.clone();
        if let Some(patch) = response["patch"].as_str() {
            let patch: json_patch::Patch = serde_json::from_slice(&decoded(patch)?)?;
            json_patch::patch(&mut stored, &patch)?;
        }
        Ok(Review { response, pod: stored })
    }
}

/// The review of a pod's creation.
pub fn creation_of(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "of-a-test"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

fn decoded(base64: &str) -> Result<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(base64).context("a patch in base64")
}
