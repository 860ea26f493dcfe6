//! Proves to a registry who asks: Basic, or a token of the service that the registry names. Tokens
//! are kept, fetched once however many requests want one, and fetched again when they are refused.
//! Called by `client` before every request.

mod challenge;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use domain::credentials::Credentials;
use domain::reference::Repository;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

pub(crate) use challenge::Challenge;
pub(crate) use session::Sessions;
use session::{Session, Token};

use crate::error::{Answer, Cause, retry_after};
use crate::transport::{Exchange, Home, Pass, Payload, Request, host_of};

/// The username that stands for an identity token in the password, as Docker has it.
pub(crate) const IDENTITY_TOKEN: &str = "<token>";
const ANSWER_LIMIT: u64 = 256 * 1024;
const REFUSAL_LIMIT: usize = 16 * 1024;
/// The life of a token whose service does not tell (distribution's token specification).
const DEFAULT_LIFE: u64 = 60;

/// What a request needs to be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Nothing: to be known is enough.
    Known,
    /// Reading one repository.
    Pull(Repository),
    /// Reading and writing one repository.
    Push(Repository),
    /// Writing one repository with blobs of another.
    Mount { into: Repository, from: Repository },
}

impl Scope {
    fn words(&self) -> Vec<String> {
        let pull = |repository: &Repository| format!("repository:{repository}:pull");
        let push = |repository: &Repository| format!("repository:{repository}:pull,push");
        match self {
            Self::Known => Vec::new(),
            Self::Pull(repository) => vec![pull(repository)],
            Self::Push(repository) => vec![push(repository)],
            Self::Mount { into, from } => vec![push(into), pull(from)],
        }
    }
}

/// What goes into `Authorization`.
#[derive(Clone)]
pub(crate) enum Proof {
    /// Nothing: the registry has not asked yet.
    Nothing,
    /// The login itself.
    Basic(HeaderValue),
    /// A token, and whether it was fetched for this very request.
    Bearer { header: HeaderValue, fresh: bool },
}

impl Proof {
    pub(crate) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Basic(header) | Self::Bearer { header, .. } => Some(header),
        }
    }
}

/// The login of one registry, and the session in which it is known there.
pub(crate) struct Keeper {
    login: Option<Credentials>,
    session: Arc<Session>,
}

impl Keeper {
    pub(crate) fn new(sessions: &Sessions, home: &Url, login: Option<Credentials>) -> Self {
        Self { session: sessions.session(home, login.as_ref()), login }
    }

    /// The login.
    pub(crate) fn login(&self) -> Option<&Credentials> {
        self.login.as_ref()
    }

    /// Whether the login was known to be good a moment ago.
    pub(crate) fn is_accepted(&self) -> bool {
        self.session.is_accepted()
    }

    /// Remembers whether the login is good.
    pub(crate) fn accept(&self, good: bool) {
        self.session.accept(good);
    }

    /// Takes up what the registry asks for. Whether that is news.
    pub(crate) fn learn(&self, challenge: Challenge) -> bool {
        self.session.learn(challenge)
    }

    /// The proof for a request; `refused` is one that the registry did not take.
    pub(crate) async fn proof(
        &self,
        home: &Home,
        scope: &Scope,
        refused: Option<&HeaderValue>,
    ) -> Result<Proof, Cause> {
        let challenge = self.session.challenge();
        match (&challenge, &self.login) {
            (None, _) => Ok(Proof::Nothing),
            (Some(Challenge::Basic), None) => Err(Cause::LoginMissing),
            (Some(Challenge::Basic), Some(login)) => Ok(Proof::Basic(basic(login))),
            (Some(asked @ Challenge::Bearer { realm, service }), _) => {
                let slot = self.session.slot(scope);
                let mut kept = slot.lock().await;
                if let Some(token) = kept.as_ref()
                    && token.until > Instant::now()
                    && refused != Some(&token.header)
                {
                    return Ok(Proof::Bearer { header: token.header.clone(), fresh: false });
                }
                let fetched = self.fetch(home, realm, service.as_deref(), scope).await;
                // The registry may have changed its mind, or an answer of somebody else's led here: the next
                // request asks it again.
                let token = fetched.inspect_err(|_| self.session.forget(asked))?;
                let header = token.header.clone();
                *kept = Some(token);
                Ok(Proof::Bearer { header, fresh: true })
            }
        }
    }

    /// Every form in which the login or a proof could be repeated to us.
    pub(crate) fn secrets(&self, proof: &Proof) -> Vec<Zeroizing<String>> {
        let mut secrets = Vec::new();
        if let Some(login) = &self.login {
            secrets.extend(forms(login.reveal_password()));
            secrets.push(Zeroizing::new(STANDARD.encode(pair(login).as_bytes())));
        }
        if let Some((_, token)) = proof.header().and_then(|header| header.to_str().ok()?.split_once(' ')) {
            secrets.push(Zeroizing::new(token.to_owned()));
        }
        secrets
    }

    async fn fetch(
        &self,
        home: &Home,
        realm: &Url,
        service: Option<&str>,
        scope: &Scope,
    ) -> Result<Token, Cause> {
        let failed =
            |problem: String, retry_after| Cause::TokenService { host: host_of(realm), problem, retry_after };
        let mut request = self.question(realm, service, scope);
        let header = self.login.as_ref().filter(|login| login.username() != IDENTITY_TOKEN).map(basic);
        let pass = header.map(|header| Pass { origin: realm, header });
        let exchange = match home.exchange(&mut request, pass).await {
            Ok(exchange) => exchange,
            Err(cause @ (Cause::Connect(_) | Cause::Misled { .. } | Cause::Certificate(_))) => {
                return Err(cause);
            }
            Err(cause) => return Err(failed(cause.to_string(), None)),
        };
        let status = exchange.status();
        if status.is_success() {
            let body = exchange.bytes(ANSWER_LIMIT).await.map_err(|cause| failed(cause.to_string(), None))?;
            let token =
                Token::read(&body).ok_or_else(|| failed("its answer holds no token".to_owned(), None))?;
            self.accept(true);
            return Ok(token);
        }
        let wait = retry_after(exchange.response.headers(), Timestamp::now());
        match (status, &self.login) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Err(Cause::LoginMissing),
            // An identity token that has run out is refused with 400 (RFC 6749, 5.2).
            (StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST, Some(_)) => {
                Err(Cause::LoginRefused(Box::new(self.refusal(exchange).await)))
            }
            (StatusCode::FORBIDDEN, Some(_)) => Err(Cause::Denied(Box::new(self.refusal(exchange).await))),
            _ => Err(failed(status.to_string(), wait)),
        }
    }

    async fn refusal(&self, exchange: Exchange) -> Answer {
        refusal(exchange, &self.secrets(&Proof::Nothing)).await
    }

    fn question(&self, realm: &Url, service: Option<&str>, scope: &Scope) -> Request {
        let service = service.map(|service| ("service", service.to_owned()));
        match &self.login {
            Some(login) if login.username() == IDENTITY_TOKEN => {
                let form = Serializer::new(String::new())
                    .extend_pairs(service)
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "drayage")
                    .append_pair("scope", &scope.words().join(" "))
                    .append_pair("refresh_token", login.reveal_password())
                    .finish();
                let mut request = Request::new(Method::POST, realm.clone());
                request
                    .headers
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                request.body = Payload::Bytes(Bytes::from(form));
                request
            }
            _ => {
                let mut url = realm.clone();
                let scopes = scope.words().into_iter().map(|word| ("scope", word));
                let pairs: Vec<_> = service.into_iter().chain(scopes).collect();
                if !pairs.is_empty() {
                    url.query_pairs_mut().extend_pairs(pairs);
                }
                Request::new(Method::GET, url)
            }
        }
    }
}

impl Token {
    fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields {
            token: Option<Zeroizing<String>>,
            access_token: Option<Zeroizing<String>>,
            expires_in: Option<u64>,
        }
        let fields: Fields = serde_json::from_slice(body).ok()?;
        let token = fields.token.or(fields.access_token).filter(|token| !token.is_empty())?;
        let mut header = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.as_str()))).ok()?;
        header.set_sensitive(true);
        // A tenth is left for the way to the registry, and a day is long enough for anybody.
        let life = fields.expires_in.unwrap_or(DEFAULT_LIFE).min(86_400);
        Some(Self { header, until: Instant::now() + Duration::from_secs(life).mul_f64(0.9) })
    }
}

/// Reads a refusal as far as it may be told.
pub(crate) async fn refusal(exchange: Exchange, secrets: &[Zeroizing<String>]) -> Answer {
    let (status, headers) = (exchange.status(), exchange.response.headers().clone());
    let elsewhere = (!exchange.at_home).then(|| host_of(&exchange.url));
    let body = if elsewhere.is_none() { exchange.beginning(REFUSAL_LIMIT).await } else { Bytes::new() };
    let secrets: Vec<&str> = secrets.iter().map(|secret| secret.as_str()).collect();
    Answer { elsewhere, ..Answer::new(status, &headers, &body, &secrets) }
}

/// A password as a server may repeat it: plain, or escaped for a URL, a form, JSON, HTML, a header.
fn forms(password: &str) -> Vec<Zeroizing<String>> {
    let form: String = byte_serialize(password.as_bytes()).collect();
    let html = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    let html = html.iter().fold(password.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped));
    let json = serde_json::Value::from(password).to_string();
    let forms = [
        password.to_owned(),
        form.replace('+', "%20"),
        form,
        json.trim_matches('"').to_owned(),
        html,
        STANDARD_NO_PAD.encode(password),
        URL_SAFE_NO_PAD.encode(password),
    ];
    forms.map(Zeroizing::new).into()
}

fn pair(login: &Credentials) -> Zeroizing<String> {
    Zeroizing::new(format!("{}:{}", login.username(), login.reveal_password()))
}

fn basic(login: &Credentials) -> HeaderValue {
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair(login).as_bytes())));
    // Base64 is always legal in a header.
    let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}
