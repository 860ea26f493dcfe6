//! One request to one registry, wherever the registry leads it: redirects under the guards. A login
//! goes to the origin that it belongs to and to no other.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::{Host, Url};

use super::{ANSWER_TIMEOUT, Blocked, IDLE_TIMEOUT, Pace, Reach, Transport};
use crate::error::{Cause, cause_of};
use crate::quirks::Learnt;

const REDIRECT_LIMIT: usize = 5;

/// The registry's own origin, and what may be reached from there.
pub(crate) struct Home {
    transport: Transport,
    url: Url,
    elsewhere: OnceCell<Reach>,
}

/// A request before it is sent; sent again unless its body is a stream.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    /// How long the head of the answer may take; `None` where the sender watches over it.
    pub(crate) patience: Option<Duration>,
}

/// The body of a request.
pub(crate) enum Payload {
    Bytes(Bytes),
    /// Sent once, then gone.
    Stream(Option<reqwest::Body>),
}

/// A login for one origin.
pub(crate) struct Pass<'a> {
    pub(crate) origin: &'a Url,
    pub(crate) header: HeaderValue,
}

/// An answer and whose it is.
pub(crate) struct Exchange {
    pub(crate) response: Response,
    /// Where the request ended up.
    pub(crate) url: Url,
    /// Whether the registry's own origin answered.
    pub(crate) at_home: bool,
}

impl Request {
    /// A request without headers and body.
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let body = Payload::Bytes(Bytes::new());
        Self { method, url, headers: HeaderMap::new(), body, patience: Some(ANSWER_TIMEOUT) }
    }

    /// Whether it can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self.body, Payload::Bytes(_))
    }

    fn is_empty(&self) -> bool {
        matches!(&self.body, Payload::Bytes(bytes) if bytes.is_empty())
    }
}

impl Home {
    pub(crate) fn new(transport: &Transport, url: Url) -> Self {
        Self { transport: transport.clone(), url, elsewhere: OnceCell::new() }
    }

    /// What is known of this registry's own ways.
    pub(crate) fn learnt(&self) -> &Learnt {
        self.transport.learnt()
    }

    /// The origin, with the path `/`.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the URL is the registry's own.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.url.origin()
    }

    /// Sends a request and follows its redirects.
    pub(crate) async fn exchange(
        &self,
        request: &mut Request,
        pass: Option<Pass<'_>>,
    ) -> Result<Exchange, Cause> {
        let mut from = self.url.clone();
        let mut url = request.url.clone();
        for _ in 0..=REDIRECT_LIMIT {
            let response = self.hop(&from, &mut url, request, pass.as_ref()).await?;
            match redirect(&response, request, &url)? {
                Some(next) => from = std::mem::replace(&mut url, next),
                None => return Ok(Exchange { at_home: self.owns(&url), response, url }),
            }
        }
        Err(Cause::Misled { to: host_of(&url), why: "more than 5 redirects" })
    }

    async fn hop(
        &self,
        from: &Url,
        url: &mut Url,
        request: &mut Request,
        pass: Option<&Pass<'_>>,
    ) -> Result<Response, Cause> {
        let misled = |why| Cause::Misled { to: host_of(url), why };
        match (from.scheme(), url.scheme()) {
            (_, "https") | ("http", "http") => {}
            ("https", "http") => return Err(misled("https would become http")),
            _ => return Err(misled("neither https nor http")),
        }
        let reach = if self.owns(url) { Reach::HOME } else { self.elsewhere().await };
        let client = self.transport.client(reach, url).map_err(|_| misled(Blocked::WHY))?;
        // A login inside a URL would be sent by the client, wherever the URL leads.
        if !url.username().is_empty() || url.password().is_some() {
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let header = pass.filter(|pass| pass.origin.origin() == url.origin()).map(|pass| &pass.header);
        let response = match attempt(client, url, request, header).await {
            // A kept connection that the other side had given up meanwhile; a new one tells more.
            Err(Failed::Request(error)) if !error.is_connect() && request.is_repeatable() => {
                attempt(client, url, request, header).await
            }
            other => other,
        }
        .map_err(|failed| match failed {
            Failed::Request(error) => cause_of(&error, &host_of(url), self.owns(url)),
            Failed::Patience(limit) => Cause::Stalled(limit.as_secs()),
        })?;
        tracing::debug!(
            method = %request.method,
            host = url.host_str(),
            path = url.path(),
            status = response.status().as_u16(),
            "answered"
        );
        Ok(response)
    }

    /// What hosts that the registry names may be: public ones, and neighbours of the registry.
    async fn elsewhere(&self) -> Reach {
        let reach = self.elsewhere.get_or_init(async || match self.url.host() {
            Some(Host::Ipv4(address)) => Reach::of([address.into()]),
            Some(Host::Ipv6(address)) => Reach::of([address.into()]),
            Some(Host::Domain(name)) => match tokio::net::lookup_host((name, 0)).await {
                Ok(found) => Reach::of(found.map(|address| address.ip())),
                Err(_) => Reach::default(),
            },
            None => Reach::default(),
        });
        *reach.await
    }
}

impl Exchange {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The URL in `Location`, which may be relative.
    pub(crate) fn location(&self) -> Option<Url> {
        self.url.join(self.header(LOCATION)?).ok()
    }

    /// The whole body, unless it is longer than `limit` bytes.
    pub(crate) async fn bytes(self, limit: u64) -> Result<Bytes, Cause> {
        // A peer that drips a byte a second would be waited for without end.
        let mut pace = Pace::default();
        let whole = tokio::time::timeout(IDLE_TIMEOUT, self.all(limit, &mut pace)).await;
        whole.unwrap_or_else(|_| Err(pace.cause()))
    }

    async fn all(mut self, limit: u64, pace: &mut Pace) -> Result<Bytes, Cause> {
        if self.response.content_length().is_some_and(|length| length > limit) {
            return Err(Cause::TooLarge { limit });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(pace).await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit {
                return Err(Cause::TooLarge { limit });
            }
        }
        Ok(body.freeze())
    }

    /// The beginning of the body, as far as it comes soon.
    pub(crate) async fn beginning(mut self, limit: usize) -> Bytes {
        let (mut body, mut pace) = (BytesMut::new(), Pace::default());
        let read = async {
            while let Ok(Some(chunk)) = self.chunk(&mut pace).await
                && body.len() < limit
            {
                body.extend_from_slice(&chunk);
            }
        };
        // Whatever has come by then will do.
        let _ = tokio::time::timeout(IDLE_TIMEOUT, read).await;
        body.truncate(limit);
        body.freeze()
    }

    /// The next piece of the body, unless it comes too slowly.
    pub(crate) async fn chunk(&mut self, pace: &mut Pace) -> Result<Option<Bytes>, Cause> {
        let asked = Instant::now();
        let Ok(chunk) = tokio::time::timeout(pace.patience(), self.response.chunk()).await else {
            return Err(pace.cause());
        };
        pace.waited(asked.elapsed());
        let chunk = chunk.map_err(|error| cause_of(&error, &host_of(&self.url), self.at_home))?;
        pace.moved(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        Ok(chunk)
    }
}

enum Failed {
    Request(reqwest::Error),
    Patience(Duration),
}

async fn attempt(
    client: &reqwest::Client,
    url: &Url,
    request: &mut Request,
    login: Option<&HeaderValue>,
) -> Result<Response, Failed> {
    let mut sent = client.request(request.method.clone(), url.clone()).headers(request.headers.clone());
    if let Some(login) = login {
        sent = sent.header(AUTHORIZATION, login.clone());
    }
    sent = match &mut request.body {
        // Strict gateways answer 411 to a request that does not say so.
        Payload::Bytes(bytes) if bytes.is_empty() && matches!(request.method, Method::POST | Method::PUT) => {
            sent.header(CONTENT_LENGTH, 0)
        }
        Payload::Bytes(bytes) if bytes.is_empty() => sent,
        Payload::Bytes(bytes) => sent.body(bytes.clone()),
        Payload::Stream(body) => sent.body(body.take().unwrap_or_default()),
    };
    let answer = match request.patience {
        Some(limit) => tokio::time::timeout(limit, sent.send()).await.map_err(|_| Failed::Patience(limit))?,
        None => sent.send().await,
    };
    answer.map_err(Failed::Request)
}

/// Where the answer sends the request, if it does.
fn redirect(response: &Response, request: &Request, url: &Url) -> Result<Option<Url>, Cause> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let why_not = match response.status() {
        // A body may hold a login, or be gone.
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
            (!request.is_empty()).then_some("what is uploaded does not follow a redirect")
        }
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            (!reads).then_some("only what is read follows such a redirect")
        }
        _ => return Ok(None),
    };
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok());
    let next = next.ok_or_else(|| Cause::Protocol("a redirect without a Location".to_owned()))?;
    match why_not {
        Some(why) => Err(Cause::Misled { to: host_of(&next), why }),
        None => Ok(Some(next)),
    }
}

/// The host and port of a URL, for messages.
pub(crate) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "nowhere".to_owned(),
    }
}
