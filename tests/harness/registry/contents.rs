//! Puts images into a registry and reads them back, byte for byte, with plain HTTP requests that
//! share no code with what is tested.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::Registry;
use crate::image::{Image, digest};

const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest as a registry serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their digest, computed here.
    pub digest: String,
    /// Their media type, as the registry says.
    pub media_type: String,
}

impl Registry {
    /// Puts an image, its children first, under `tag`.
    pub async fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<()> {
        for blob in image.all_blobs() {
            self.push_blob(repository, &blob.digest, &blob.bytes).await?;
        }
        for child in &image.children {
            self.push_manifest(child, repository, &child.digest).await?;
        }
        self.push_manifest(image, repository, tag).await
    }

    /// The manifest that a tag or digest names, if there is one.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Option<Manifest>> {
        let path = format!("{repository}/manifests/{reference}");
        let response = self.request(Method::GET, &path).header("accept", MANIFEST_TYPES).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = succeeded(response, &path).await?;
        let media_type = response.headers().get("content-type").context("a content type")?;
        let media_type = media_type.to_str()?.to_owned();
        let bytes = response.bytes().await?;
        Ok(Some(Manifest { digest: digest(&bytes), bytes, media_type }))
    }

    /// Checks that `reference` names this very image: manifest, children and blobs, byte for byte.
    pub async fn holds(&self, image: &Image, repository: &str, reference: &str) -> Result<()> {
        self.holds_manifest(image, repository, reference).await?;
        for child in &image.children {
            self.holds_manifest(child, repository, &child.digest).await?;
        }
        for blob in image.all_blobs() {
            let path = format!("{repository}/blobs/{}", blob.digest);
            let response = succeeded(self.request(Method::GET, &path).send().await?, &path).await?;
            ensure!(response.bytes().await? == blob.bytes, "{path} differs");
        }
        Ok(())
    }

    /// Takes a manifest away, and with it every tag that names it.
    pub async fn delete(&self, repository: &str, digest: &str) -> Result<()> {
        let path = format!("{repository}/manifests/{digest}");
        succeeded(self.request(Method::DELETE, &path).send().await?, &path).await?;
        Ok(())
    }

    async fn holds_manifest(&self, image: &Image, repository: &str, reference: &str) -> Result<()> {
        let held = self.manifest(repository, reference).await?;
        let held = held.with_context(|| format!("{repository} has no {reference}"))?;
        ensure!(held.digest == image.digest, "{repository} {reference} is {}", held.digest);
        ensure!(held.media_type == image.media_type, "{reference} is of type {}", held.media_type);
        Ok(())
    }

    async fn push_blob(&self, repository: &str, digest: &str, bytes: &Bytes) -> Result<()> {
        let path = format!("{repository}/blobs/uploads/");
        let started = succeeded(self.request(Method::POST, &path).send().await?, &path).await?;
        let location = started.headers().get("location").context("a location")?.to_str()?;
        let url = self.url_of(location);
        let join = if url.contains('?') { '&' } else { '?' };
        let put = self.client.put(format!("{url}{join}digest={digest}")).body(bytes.clone());
        succeeded(self.identified(put).send().await?, "an upload").await?;
        Ok(())
    }

    async fn push_manifest(&self, image: &Image, repository: &str, reference: &str) -> Result<()> {
        let path = format!("{repository}/manifests/{reference}");
        let put = self.request(Method::PUT, &path).header("content-type", &image.media_type);
        succeeded(put.body(image.manifest.clone()).send().await?, &path).await?;
        Ok(())
    }

    /// A request below `/v2/` as the first of the registry's users.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.identified(self.client.request(method, self.url_of(&format!("/v2/{path}"))))
    }

    fn identified(&self, request: RequestBuilder) -> RequestBuilder {
        match self.logins.first() {
            Some(login) => request.basic_auth(&login.username, Some(&login.password)),
            None => request,
        }
    }

    fn url_of(&self, location: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match location.strip_prefix('/') {
            Some(path) => format!("{scheme}://{}/{path}", self.host()),
            None => location.to_owned(),
        }
    }
}

async fn succeeded(response: Response, what: &str) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    anyhow::bail!("{what}: {status}: {}", response.text().await.unwrap_or_default())
}
