//! The source registry, where the user's own CI puts what it built. A compile looks here for the image
//! of an algorithm and for the commit that it was built from; nothing is copied or changed.

use std::path::PathBuf;
use std::time::Duration;

use distribution::{Content, DockerConfig, Error, Manifest, ManifestRef, Registry, Side, Transport};
use domain::algorithm::RepositoryTemplate;
use domain::push::{Failure, Reason};
use domain::reference::{Digest, Repository, Tag};
use domain::registry::Address;
use domain::version::VersionHash;
use serde_json::Value;
use store::{Algorithm, BuiltImage};

/// The label and the annotation that name the commit (OCI image spec, "Pre-Defined Annotation Keys").
const REVISION: &str = "org.opencontainers.image.revision";
/// How long a look may take; clients and proxies wait longer than that.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Larger configurations are not read, in bytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// Where compiles find images.
pub(crate) struct Source {
    transport: Transport,
    address: Address,
    template: RepositoryTemplate,
    auth_file: Option<PathBuf>,
}

/// What a look found, and how it went in words for the build's log.
pub(crate) struct Look {
    pub(crate) image: Option<BuiltImage>,
    pub(crate) log: String,
}

impl Source {
    /// The source registry at an address; `auth_file` is a Docker config.json.
    pub(crate) fn new(
        transport: Transport,
        address: Address,
        template: RepositoryTemplate,
        auth_file: Option<PathBuf>,
    ) -> Self {
        Self { transport, address, template, auth_file }
    }

    /// Looks for the image of an algorithm: the one tagged with the commit, or else `latest`. Whatever
    /// keeps it from being found is in the log.
    pub(crate) async fn look(&self, algorithm: &Algorithm, commit: Option<&Tag>) -> Look {
        let mut log = String::new();
        let image = match tokio::time::timeout(LOOK_LIMIT, self.find(algorithm, commit, &mut log)).await {
            Ok(found) => found,
            Err(_) => {
                let late = format!("the source registry took longer than {} seconds", LOOK_LIMIT.as_secs());
                Err(Failure::new(Reason::SourceUnreachable, late))
            }
        };
        let image = image
            .map_err(|failure| log.push_str(&format!("failed: {}: {}\n", failure.reason, failure.message)));
        Look { image: image.ok(), log }
    }

    async fn find(
        &self,
        algorithm: &Algorithm,
        commit: Option<&Tag>,
        log: &mut String,
    ) -> Result<BuiltImage, Failure> {
        let too_long = || Failure::new(Reason::Unsupported, "the names make a repository that is too long");
        let repository = self.template.render(&algorithm.owner, &algorithm.name).map_err(|_| too_long())?;
        let full = self.address.repository(&repository).map_err(|_| too_long())?;
        let tag = match commit {
            Some(commit) => commit.clone(),
            None => latest()?,
        };
        log.push_str(&format!("looking for {}/{full}:{tag}\n", self.address.host()));

        let registry = Registry::new(&self.transport, self.address.clone(), self.login().await?);
        let manifest = registry.manifest(&full, &ManifestRef::Tag(tag.clone())).await.map_err(|error| {
            if error.is_absence() {
                let advice = "nothing lies there; push the image that was built, then compile again";
                Failure::new(Reason::SourceMissing, advice)
            } else {
                failure(&error)
            }
        })?;
        log.push_str(&format!("found {} ({})\n", manifest.digest, manifest.media_type));
        let revision = revision(&registry, &full, &manifest).await.map_err(|error| failure(&error))?;
        let hash = VersionHash::of(revision.as_deref(), commit, &manifest.digest);
        match revision {
            Some(revision) if revision == hash.as_str() => {
                log.push_str(&format!("its {REVISION} names the version\n"))
            }
            Some(_) => log.push_str(&format!("its {REVISION} is not 40 hex digits and is not used\n")),
            None => log.push_str(&format!("it has no {REVISION}\n")),
        }
        log.push_str(&format!("the version is {hash}, unless the digest has one already\n"));
        Ok(BuiltImage {
            source: self.address.clone(),
            repository,
            tag,
            digest: manifest.digest,
            media_type: manifest.media_type,
            hash,
        })
    }

    /// Read at each look, since a mounted login is renewed while we run (ECR's lasts twelve hours).
    async fn login(&self) -> Result<Option<domain::credentials::Credentials>, Failure> {
        let Some(file) = self.auth_file.clone() else { return Ok(None) };
        let address = self.address.clone();
        let read = move || DockerConfig::read(&file).map(|config| config.credentials_for(&address));
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(login)) => Ok(login),
            Ok(Err(error)) => {
                tracing::warn!("--registry-auth-file: {:#}", anyhow::Error::from(error));
                Err(Failure::new(
                    Reason::SourceDenied,
                    "the login for the source registry cannot be read; an administrator finds the cause in the log of drayage-api",
                ))
            }
            Err(_) => Err(Failure::new(Reason::Internal, "drayage-api is stopping; compile again")),
        }
    }
}

fn latest() -> Result<Tag, Failure> {
    "latest".parse().map_err(|_| Failure::new(Reason::Internal, "`latest` is no tag"))
}

fn failure(error: &Error) -> Failure {
    error.failure(Side::Source)
}

/// The commit that an image was built from, as it says: an index by its own annotation or else by its
/// first child for linux/amd64, an image by the label of its configuration.
async fn revision(
    registry: &Registry,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Option<String>, Error> {
    match &manifest.content {
        Content::Image { config, .. } => label(registry, repository, &config.digest).await,
        Content::Index { .. } => {
            let index = json(&manifest.bytes);
            if let Some(annotation) = index["annotations"][REVISION].as_str() {
                return Ok(Some(annotation.to_owned()));
            }
            let Some(child) = linux_amd64(&index) else { return Ok(None) };
            match registry.manifest(repository, &ManifestRef::Digest(child)).await?.content {
                Content::Image { config, .. } => label(registry, repository, &config.digest).await,
                Content::Index { .. } => Ok(None),
            }
        }
    }
}

async fn label(
    registry: &Registry,
    repository: &Repository,
    config: &Digest,
) -> Result<Option<String>, Error> {
    let config = json(&registry.blob_bytes(repository, config, CONFIG_LIMIT).await?);
    Ok(config["config"]["Labels"][REVISION].as_str().map(str::to_owned))
}

fn linux_amd64(index: &Value) -> Option<Digest> {
    let children = index["manifests"].as_array()?;
    let child = children.iter().find(|child| {
        let platform = &child["platform"];
        platform["os"] == "linux" && platform["architecture"] == "amd64"
    })?;
    child["digest"].as_str()?.parse().ok()
}

/// What is no JSON says nothing: the configuration of an artifact may be anything.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}
