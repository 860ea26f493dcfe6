//! The API server as its administrator calls it, over connections that stay open: for claims that call
//! more often than kubectl can be started.

use std::fs;

use anyhow::{Result, ensure};
use reqwest::{Certificate, Client, StatusCode};
use serde_json::Value;

use super::Cluster;

/// Somebody who may do everything.
#[derive(Clone, Debug)]
pub struct Administrator {
    client: Client,
    url: String,
}

impl Cluster {
    /// Its administrator.
    pub fn administrator(&self) -> Result<Administrator> {
        let root = Certificate::from_pem(&fs::read(self.file("authority.pem"))?)?;
        let client = Client::builder().tls_certs_only([root]).no_proxy().build()?;
        Ok(Administrator { client, url: self.url.clone() })
    }
}

impl Administrator {
    /// Gets an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth("admin");
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Creates an object, and gives what the server said.
    pub async fn post(&self, path: &str, object: &Value) -> Result<(StatusCode, Value)> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth("admin");
        let answer = request.json(object).send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    /// Creates an object that must be taken.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let (status, answer) = self.post(path, object).await?;
        ensure!(status.is_success(), "{status}: {answer}");
        Ok(answer)
    }
}
