//! One registry with one login: how a request gets its proof and a refusal becomes an error, and the
//! requests about manifests. Blobs are in `blob` and `upload`. Called by `copy`, `syncer` and `api`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use domain::credentials::Credentials;
use domain::reference::{Digest, Repository};
use domain::registry::Address;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::error::{Action, Cause, Error};
use crate::manifest::{self, Descriptor, Hasher, MANIFEST_LIMIT, Manifest, ManifestRef};
use crate::quirks;
use crate::token::{Challenge, Keeper, Proof, Scope, refusal};
use crate::transport::{Exchange, Home, MANIFEST_TIMEOUT, Pass, Payload, Request, Transport, host_of};

const CONTENT_DIGEST: &str = "docker-content-digest";
/// Without a proof, with a kept token or the login, with a fresh one or the login again, and once more when
/// the challenge changed.
const PROOFS: usize = 4;

/// One registry with one login, or none. All of one transport with the same login share their tokens.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    /// The host as references spell it.
    name: String,
    home: Home,
    keeper: Keeper,
    /// The registry has taken the login in this `Registry`'s own life.
    proven: AtomicBool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.inner.name)
    }
}

/// What a request is for.
pub(crate) struct Purpose<'a> {
    pub(crate) action: Action,
    pub(crate) repository: Option<&'a Repository>,
    pub(crate) scope: Scope,
}

impl<'a> Purpose<'a> {
    pub(crate) fn pull(action: Action, repository: &'a Repository) -> Self {
        Self { action, repository: Some(repository), scope: Scope::Pull(repository.clone()) }
    }

    pub(crate) fn push(action: Action, repository: &'a Repository) -> Self {
        Self { action, repository: Some(repository), scope: Scope::Push(repository.clone()) }
    }
}

impl Registry {
    /// A registry at an address. Nothing is sent before the first question.
    pub fn new(transport: &Transport, address: Address, login: Option<Credentials>) -> Self {
        let scheme = if address.plain_http() { "http" } else { "https" };
        // A host may be legal in a reference and not in a URL (`1.2.3.999`): it is never found.
        let url = Url::parse(&format!("{scheme}://{}/", quirks::api_host(address.host())))
            .or_else(|_| Url::parse("https://host.invalid/"))
            .expect("a constant URL is legal");
        let home = Home::new(transport, url);
        let name = address.host().as_str().to_owned();
        let keeper = Keeper::new(transport.sessions(), home.url(), login);
        Self { inner: Arc::new(Inner { name, home, keeper, proven: AtomicBool::new(false) }) }
    }

    /// The registry's host as references spell it.
    pub fn host(&self) -> &str {
        &self.inner.name
    }

    /// Whether both are the same service, whatever their logins.
    pub fn is_same_service(&self, other: &Self) -> bool {
        self.inner.home.owns(other.inner.home.url())
    }

    /// Its origin, and what may be reached from there.
    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    /// Makes sure that the registry has taken the login, where it asks for one at all.
    ///
    /// # Errors
    /// [`Cause::LoginRefused`], or whatever keeps the registry from telling.
    pub async fn prove_login(&self) -> Result<(), Error> {
        if self.inner.keeper.login().is_none() || self.inner.keeper.is_accepted() {
            return Ok(());
        }
        let purpose = Purpose { action: Action::Login, repository: None, scope: Scope::Known };
        match self.send(&purpose, self.request(Method::GET, "/v2/")).await {
            Err(error) if !error.is_absence() => Err(error),
            _ => {
                self.inner.keeper.accept(true);
                Ok(())
            }
        }
    }

    /// What a tag or a digest names now; `None` when it names nothing.
    ///
    /// # Errors
    /// Any [`Error`] but absence.
    pub async fn resolve(
        &self,
        repository: &Repository,
        at: &ManifestRef,
    ) -> Result<Option<Descriptor>, Error> {
        let purpose = Purpose::pull(Action::Resolve, repository);
        let request = self.manifest_request(Method::HEAD, repository, at);
        let exchange = match self.send(&purpose, request).await {
            Ok(exchange) => exchange,
            Err(error) if error.is_absence() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(told) = exchange.header(CONTENT_DIGEST) else {
            let (bytes, media_type, digest) = self.raw_manifest(&purpose, repository, at).await?;
            return Ok(Some(Descriptor { media_type, digest, size: bytes.len() as u64 }));
        };
        let digest: Digest = told.parse().map_err(|_| {
            self.error(&purpose, Cause::Protocol("its Docker-Content-Digest is no digest".to_owned()))
        })?;
        if let ManifestRef::Digest(asked) = at
            && *asked != digest
        {
            let what = "the registry names another digest".to_owned();
            return Err(self.error(&purpose, Cause::Mismatch { digest: asked.clone(), what }));
        }
        Ok(Some(Descriptor {
            media_type: exchange.header(CONTENT_TYPE).unwrap_or_default().to_owned(),
            size: exchange.header(CONTENT_LENGTH).and_then(|size| size.parse().ok()).unwrap_or(0),
            digest,
        }))
    }

    /// A manifest with its raw bytes, at most [`MANIFEST_LIMIT`], compared with their digest.
    ///
    /// # Errors
    /// Any [`Error`]; [`Cause::Mismatch`] when the bytes are others.
    pub async fn manifest(&self, repository: &Repository, at: &ManifestRef) -> Result<Manifest, Error> {
        let purpose = Purpose::pull(Action::ReadManifest, repository);
        let raw = match self.raw_manifest(&purpose, repository, at).await {
            // Once it may be a mistake on the way.
            Err(error) if error.is_mismatch() => self.raw_manifest(&purpose, repository, at).await,
            other => other,
        };
        let (bytes, media_type, digest) = raw?;
        Manifest::new(bytes, digest.clone(), Some(&media_type))
            .map_err(|problem| self.error(&purpose, Cause::Manifest { digest, problem }))
    }

    async fn raw_manifest(
        &self,
        purpose: &Purpose<'_>,
        repository: &Repository,
        at: &ManifestRef,
    ) -> Result<(Bytes, String, Digest), Error> {
        let exchange = self.send(purpose, self.manifest_request(Method::GET, repository, at)).await?;
        let told = exchange.header(CONTENT_DIGEST).and_then(|digest| digest.parse().ok());
        let media_type = exchange.header(CONTENT_TYPE).unwrap_or_default();
        // `application/json; charset=utf-8` and its like.
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = exchange.bytes(MANIFEST_LIMIT).await.map_err(|cause| self.error(purpose, cause))?;
        let expected = match at {
            ManifestRef::Digest(digest) => Some(digest.clone()),
            ManifestRef::Tag(_) => told,
        };
        let digest = match expected {
            Some(digest) => {
                verify(&digest, &bytes).map_err(|cause| self.error(purpose, cause))?;
                digest
            }
            None => manifest::sha256(&bytes),
        };
        Ok((bytes, media_type, digest))
    }

    /// Writes a manifest as it is. It becomes visible, so what it names must be there before.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        at: &ManifestRef,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        let purpose = Purpose::push(Action::WriteManifest, repository);
        let mut request = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{at}"));
        let media_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|_| self.error(&purpose, Cause::Protocol("a media type that is none".to_owned())))?;
        request.headers.insert(CONTENT_TYPE, media_type);
        request.body = Payload::Bytes(manifest.bytes.clone());
        request.patience = Some(MANIFEST_TIMEOUT);
        self.send(&purpose, request).await.map(drop)
    }

    fn manifest_request(&self, method: Method, repository: &Repository, at: &ManifestRef) -> Request {
        let mut request = self.request(method, &format!("/v2/{repository}/manifests/{at}"));
        request.headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        request
    }

    /// A request to a path of the registry itself.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.inner.home.url().clone();
        url.set_path(path);
        Request::new(method, url)
    }

    /// Sends a request with whatever proof it takes. Anything but success is an error.
    pub(crate) async fn send(&self, purpose: &Purpose<'_>, mut request: Request) -> Result<Exchange, Error> {
        self.try_send(purpose, &mut request).await.map_err(|cause| self.error(purpose, cause))
    }

    async fn try_send(&self, purpose: &Purpose<'_>, request: &mut Request) -> Result<Exchange, Cause> {
        let Inner { home, keeper, proven, .. } = &*self.inner;
        let mut refused: Option<HeaderValue> = None;
        let mut is_doubted = false;
        for _ in 0..PROOFS {
            let proof = keeper.proof(home, &purpose.scope, refused.as_ref()).await?;
            let pass = proof.header().map(|header| Pass { origin: home.url(), header: header.clone() });
            let exchange = home.exchange(request, pass).await?;
            if exchange.status() != StatusCode::UNAUTHORIZED || !exchange.at_home {
                if matches!(proof, Proof::Basic(_)) && exchange.at_home {
                    keeper.accept(true);
                    proven.store(true, Ordering::Relaxed);
                }
                if exchange.status().is_success() {
                    return Ok(exchange);
                }
                // A kept token may be older than the right that it lacks.
                if exchange.status() == StatusCode::FORBIDDEN
                    && exchange.at_home
                    && request.is_repeatable()
                    && let Proof::Bearer { header, fresh: false } = proof
                {
                    refused = Some(header);
                    continue;
                }
                return Err(Cause::Status(Box::new(refusal(exchange, &keeper.secrets(&proof)).await)));
            }
            let (challenge, error) = Challenge::read(exchange.response.headers());
            let asked = Challenge::asked(exchange.response.headers());
            let answer = refusal(exchange, &keeper.secrets(&proof)).await;
            let Some(challenge) = challenge else {
                return Err(asked.map_or_else(|| Cause::Status(Box::new(answer)), Cause::Challenge));
            };
            let news = keeper.learn(challenge);
            match proof {
                // A first question, or a registry that has changed its mind.
                _ if news => {}
                // Another request has learnt it meanwhile.
                Proof::Nothing => {}
                Proof::Bearer { header, fresh: false } => refused = Some(header),
                // One server of several may not know the login yet, or no more for a moment.
                Proof::Basic(_) if proven.load(Ordering::Relaxed) && !is_doubted => {
                    if !request.is_repeatable() {
                        return Err(Cause::LoginDoubted(Box::new(answer)));
                    }
                    is_doubted = true;
                }
                Proof::Basic(_) if proven.load(Ordering::Relaxed) => {
                    return Err(Cause::Denied(Box::new(answer)));
                }
                Proof::Basic(_) => {
                    keeper.accept(false);
                    return Err(Cause::LoginRefused(Box::new(answer)));
                }
                Proof::Bearer { .. } if keeper.login().is_none() => return Err(Cause::LoginMissing),
                Proof::Bearer { .. } if error.as_deref() == Some("invalid_token") => {
                    let problem = "the registry does not take its tokens".to_owned();
                    return Err(Cause::TokenService {
                        host: host_of(home.url()),
                        problem,
                        retry_after: None,
                    });
                }
                Proof::Bearer { .. } => return Err(Cause::Denied(Box::new(answer))),
            }
            if !request.is_repeatable() {
                return Err(Cause::TokenExpired);
            }
        }
        Err(Cause::Protocol("it asks for another proof each time".to_owned()))
    }

    pub(crate) fn error(&self, purpose: &Purpose<'_>, cause: Cause) -> Error {
        Error {
            registry: self.inner.name.clone(),
            repository: purpose.repository.cloned(),
            action: purpose.action,
            cause,
        }
    }
}

/// Compares bytes with a digest.
pub(crate) fn verify(digest: &Digest, bytes: &[u8]) -> Result<(), Cause> {
    let mut hasher = Hasher::like(digest);
    hasher.update(bytes);
    match hasher.finish() {
        found if found == digest.as_str() => Ok(()),
        found => Err(Cause::Mismatch { digest: digest.clone(), what: format!("they are those of {found}") }),
    }
}
