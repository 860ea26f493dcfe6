//! The calls of a person to `/v1`, and what came back. Nothing is interpreted beyond JSON.

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::Drayage;
use crate::claim::eventually;
use crate::registry::Login;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body as JSON, if the status is this one.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status, self.text);
        Ok(self.json())
    }
}

/// An algorithm and the key of its owner.
#[derive(Debug, Clone)]
pub struct Algorithm {
    /// `{owner}/{name}`.
    pub reference: String,
    /// Its uuid.
    pub id: String,
    /// The key of its owner.
    pub key: String,
}

impl Algorithm {
    /// Its repository in the source registry.
    pub fn repository(&self) -> String {
        format!("algorithms/{}", self.reference)
    }

    /// The path of something below it.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/algorithms/{}{rest}", self.reference)
    }
}

impl Drayage {
    /// Calls the API with a key, and a body if there is one.
    pub async fn call(&self, method: Method, path: &str, key: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.call_with_bytes(method, path, key, body).await
    }

    /// Calls the API with bytes that may be no JSON, but are said to be.
    pub async fn call_with_bytes(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.api_url()?);
        let mut request = self.client.request(method, url).header("authorization", format!("Simple {key}"));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        Ok(Answer { status: response.status().as_u16(), text: response.text().await? })
    }

    /// Gets something as the administrator.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, &self.admin_key, None).await?.expect(200)
    }

    /// Makes a standard key for a user.
    pub async fn standard_key(&self, username: &str) -> Result<String> {
        let path = format!("/v1/users/{username}/keys");
        let body = json!({"key_label": "of a test"});
        let made = self.call(Method::POST, &path, &self.admin_key, Some(&body)).await?.expect(200)?;
        text_of(&made, "/api_key")
    }

    /// Registers a registry and gives its id.
    pub async fn register(&self, registry_url: &str, login: Option<&Login>) -> Result<String> {
        let mut body = json!({"name": "enterprise", "registry_url": registry_url});
        if let Some(login) = login {
            body["registry_username"] = login.username.clone().into();
            body["registry_password"] = login.password.clone().into();
        }
        let path = "/v1/registries";
        let made = self.call(Method::POST, path, &self.admin_key, Some(&body)).await?.expect(200)?;
        text_of(&made, "/id")
    }

    /// Creates an algorithm of an owner who gets a new key.
    pub async fn algorithm(&self, owner: &str, name: &str) -> Result<Algorithm> {
        let key = self.standard_key(owner).await?;
        let body = json!({
            "name": name,
            "details": {"label": name},
            "settings": {"algorithm_callability": "private", "source_visibility": "closed",
                         "license": "apl", "network_access": "full", "pipeline_enabled": true},
        });
        let path = format!("/v1/algorithms/{owner}");
        let made = self.call(Method::POST, &path, &key, Some(&body)).await?.expect(201)?;
        Ok(Algorithm { reference: format!("{owner}/{name}"), id: text_of(&made, "/id")?, key })
    }

    /// Compiles, with the body as given, and gives the version hash.
    pub async fn compile(&self, algorithm: &Algorithm, body: &Value) -> Result<String> {
        let path = algorithm.path("/compile");
        let built = self.call(Method::POST, &path, &algorithm.key, Some(body)).await?.expect(200)?;
        ensure!(built["compilation"]["successful"] == true, "not compiled: {built}");
        text_of(&built, "/version_info/git_hash")
    }

    /// Publishes the newest build, with the body as given, and gives the semantic version.
    pub async fn publish(&self, algorithm: &Algorithm, body: &Value) -> Result<String> {
        let path = algorithm.path("/version");
        let published = self.call(Method::POST, &path, &algorithm.key, Some(body)).await?.expect(200)?;
        text_of(&published, "/version_info/semantic_version")
    }

    /// The push statuses of a version.
    pub async fn statuses(&self, algorithm: &Algorithm, hash: &str) -> Result<Vec<Value>> {
        let path = algorithm.path(&format!("/versions/{hash}/registry"));
        let statuses = self.call(Method::GET, &path, &algorithm.key, None).await?.expect(200)?;
        Ok(statuses.as_array().context("an array of statuses")?.clone())
    }

    /// The status of a version's push to a registry.
    pub async fn status(&self, algorithm: &Algorithm, hash: &str, registry: &str) -> Result<Value> {
        let mut statuses = self.statuses(algorithm, hash).await?.into_iter();
        statuses.find(|status| status["registry_id"] == registry).context("a status for that registry")
    }

    /// Waits until a push has ended, and gives its status.
    pub async fn ended(&self, algorithm: &Algorithm, hash: &str, registry: &str) -> Result<Value> {
        let ended = eventually("a push to end", async || {
            let status = self.status(algorithm, hash, registry).await?;
            match status["status"].as_str() {
                Some("succeeded" | "failed") => Ok(status),
                _ => bail!("{status}"),
            }
        });
        ended.await.with_context(|| self.syncer.log())
    }

    /// Waits until a push has succeeded, and gives its status.
    pub async fn pushed(&self, algorithm: &Algorithm, hash: &str, registry: &str) -> Result<Value> {
        let status = self.ended(algorithm, hash, registry).await?;
        ensure!(status["status"] == "succeeded", "{status}\n{}", self.syncer.log());
        Ok(status)
    }
}

/// The text at a place in an answer.
fn text_of(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("{pointer} in {value}"))?.to_owned())
}
