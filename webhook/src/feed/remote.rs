//! The feed of an api, over HTTP: `GET /v1/routes` with a key that can read routes and nothing else. Files
//! are read again whenever the feed is opened, so that a rotated key or authority is taken up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, fs, io};

use domain::fact::{FactPage, Revision};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{StatusCode, Uri};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use crate::certificates::Trusted;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// From a request to the end of its answer, beside what the api was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The longest page in bytes; a page of 2,000 facts has about half a million.
const PAGE_LIMIT: usize = 64 << 20;

/// The address of an api, as `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl {
    scheme: &'static str,
    authority: Authority,
}

impl ApiUrl {
    fn host(&self) -> &str {
        self.authority.host()
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.authority)
    }
}

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an api is https://HOST[:PORT]; http:// only on this host".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).cloned();
        // The key would be readable on its way.
        let is_here = |host: &str| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        match (uri.scheme_str(), authority, uri.path_and_query().map_or("/", |rest| rest.as_str())) {
            (Some("https"), Some(authority), "/") => Ok(Self { scheme: "https", authority }),
            (Some("http"), Some(authority), "/") if is_here(authority.host()) => {
                Ok(Self { scheme: "http", authority })
            }
            _ => Err(wrong()),
        }
    }
}

/// An api and what it takes to read its routes.
#[derive(Clone, Debug)]
pub struct RoutesFrom {
    /// Where it is.
    pub url: ApiUrl,
    /// The file with the key.
    pub key_file: PathBuf,
    /// Where it is called, whatever a DNS says.
    pub service_host: Option<IpAddr>,
    /// Authorities to trust beside the system's.
    pub trusted_ca_file: Option<PathBuf>,
    /// Those of the installation, whose certificate the api serves too.
    pub authorities: Trusted,
}

/// The api's routes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file that a flag names.
    #[error("{flag} {path}", path = .path.display())]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The file of the key holds none.
    #[error("--routes-key-file {} holds no key", .0.display())]
    NoKey(PathBuf),
    /// The HTTP client cannot be set up with the trusted authorities.
    #[error("--trusted-ca-file is not PEM certificates")]
    Authorities(#[source] reqwest::Error),
    /// No answer.
    #[error("the api at {url} does not answer")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What was in the way.
        source: reqwest::Error,
    },
    /// The key is none that may read routes.
    #[error(
        "the api refuses the key in {path} ({status}): make one with POST /v1/users/NAME/keys and \"key_type\": \"RouteReaderKey\"",
        path = .path.display()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the api says.
        status: StatusCode,
    },
    /// Another answer than routes.
    #[error("the api answers {0} instead of routes")]
    Status(StatusCode),
    /// An answer of another shape.
    #[error("the api's answer is no page of routes; is it of another version?")]
    Shape(#[from] serde_json::Error),
    /// An answer without end.
    #[error("the api's answer is longer than 64 MiB")]
    TooLong,
}

/// An api that is being asked. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    url: String,
    key_file: PathBuf,
}

impl RoutesFrom {
    pub(super) fn open(&self) -> Result<Remote, RemoteError> {
        let read = |flag, path: &PathBuf| {
            fs::read(path).map_err(|source| RemoteError::File { flag, path: path.clone(), source })
        };
        let key = read("--routes-key-file", &self.key_file)?;
        let mut key = HeaderValue::from_bytes(&[b"Bearer ", key.trim_ascii()].concat())
            .ok()
            .filter(|_| !key.trim_ascii().is_empty())
            .ok_or_else(|| RemoteError::NoKey(self.key_file.clone()))?;
        key.set_sensitive(true);
        let mut client = Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, key)]))
            .user_agent(concat!("drayage-webhook/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN);
        if let Some(address) = self.service_host {
            // The port is the URL's, and the name is the one that its certificate must have.
            client = client.resolve(self.url.host(), SocketAddr::new(address, 0));
        }
        if let Some(file) = &self.trusted_ca_file {
            let authorities = Certificate::from_pem_bundle(&read("--trusted-ca-file", file)?);
            client = client.tls_certs_merge(authorities.map_err(RemoteError::Authorities)?);
        }
        let own = Certificate::from_pem_bundle(&self.authorities.pem()).map_err(RemoteError::Authorities)?;
        client = client.tls_certs_merge(own);
        let client = client.build().map_err(RemoteError::Authorities)?;
        Ok(Remote { client, url: format!("{}/v1/routes", self.url), key_file: self.key_file.clone() })
    }
}

impl Remote {
    /// The facts after a revision, which the api keeps back until there are some, or for so long.
    pub(super) async fn page(&self, after: Revision, wait: Duration) -> Result<FactPage, RemoteError> {
        let unreachable = |source: reqwest::Error| RemoteError::Unreachable {
            url: self.url.clone(),
            source: source.without_url(),
        };
        let url = format!("{}?after={after}&wait={}", self.url, wait.as_secs());
        let request = self.client.get(url).timeout(wait + ANSWER_WITHIN);
        let mut answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(RemoteError::Refused { path: self.key_file.clone(), status });
            }
            status => return Err(RemoteError::Status(status)),
        }
        let mut json = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            if json.len() + piece.len() > PAGE_LIMIT {
                return Err(RemoteError::TooLong);
            }
            json.extend_from_slice(&piece);
        }
        Ok(serde_json::from_slice(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_a_scheme_and_a_host() {
        for (text, url) in [
            ("https://drayage-api.drayage.svc:8443", "https://drayage-api.drayage.svc:8443"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(text.parse::<ApiUrl>().map(|url| url.to_string()), Ok(url.to_owned()));
        }
        for text in [
            "",
            "api.example",
            "ftp://api.example",
            "http://api.example:8080",
            "https://u:p@api.example",
            "https://a.example/v1",
            "https://a.example/?q",
        ] {
            assert!(text.parse::<ApiUrl>().is_err(), "{text}");
        }
    }
}
