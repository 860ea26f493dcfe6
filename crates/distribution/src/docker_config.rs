//! Reads logins from a Docker config.json (`--registry-auth-file`): what `docker login`,
//! `skopeo login --authfile` and a `kubernetes.io/dockerconfigjson` Secret hold. Credential helpers
//! are programs of a user's machine and are not run.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use domain::credentials::Credentials;
use domain::registry::Address;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::quirks;
use crate::token::IDENTITY_TOKEN;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a file gives no logins. No message repeats what the file holds, but for its keys.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// Missing, or not ours to read.
    #[error("the Docker config file cannot be read")]
    Read(#[from] io::Error),
    /// Not the JSON that Docker writes.
    #[error(
        "the Docker config file is not JSON of the form {{\"auths\": {{\"HOST\": {{…}}}}}} (line {line}, column {column})"
    )]
    Form {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// An `auth` that is not base64 of `username:password`.
    #[error("the entry of {key} in the Docker config file holds no base64 of username:password")]
    Entry {
        /// The entry's key.
        key: String,
    },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
}

/// The logins of a Docker config.json.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// By `host[:port][/path]`.
    logins: HashMap<String, Credentials>,
}

impl DockerConfig {
    /// Reads the file. One that is missing holds no login, as long as its folder is there: a Secret that
    /// nobody has made is mounted as an empty folder.
    ///
    /// # Errors
    /// [`DockerConfigError`]; an entry without a login is none.
    pub fn read(path: &Path) -> Result<Self, DockerConfigError> {
        match std::fs::read(path) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) =>
            {
                Ok(Self::default())
            }
            read => Self::parse(&Zeroizing::new(read?)),
        }
    }

    fn parse(json: &[u8]) -> Result<Self, DockerConfigError> {
        let file: File = serde_json::from_slice(json)
            .map_err(|error| DockerConfigError::Form { line: error.line(), column: error.column() })?;
        let mut logins = HashMap::new();
        for (key, entry) in file.auths {
            let login = login(entry).map_err(|NoLogin| DockerConfigError::Entry { key: key.clone() })?;
            if let Some(login) = login {
                logins.insert(place(&key), login);
            }
        }
        Ok(Self { logins })
    }

    /// The login for the address: that of the longest key which is the host or lies above its path.
    pub fn credentials_for(&self, address: &Address) -> Option<Credentials> {
        let host = address.host().as_str();
        let mut path = address.path().map(|path| path.as_str());
        while let Some(above) = path {
            if let Some(login) = self.logins.get(&format!("{host}/{above}")) {
                return Some(login.clone());
            }
            path = above.rsplit_once('/').map(|(above, _)| above);
        }
        let names = std::iter::once(host).chain(quirks::login_names(address.host()).iter().copied());
        names.filter_map(|name| self.logins.get(name)).next().cloned()
    }
}

struct NoLogin;

fn login(entry: Entry) -> Result<Option<Credentials>, NoLogin> {
    let filled = |text: &Zeroizing<String>| !text.is_empty();
    if let Some(token) = entry.identitytoken.filter(filled) {
        return Ok(Some(Credentials::new(IDENTITY_TOKEN, token.as_str())));
    }
    if let (Some(username), Some(password)) = (entry.username, entry.password.filter(filled)) {
        return Ok(Some(Credentials::new(username, password.as_str())));
    }
    let Some(encoded) = entry.auth.filter(filled) else { return Ok(None) };
    let decoded = Zeroizing::new(BASE64.decode(encoded.trim()).map_err(|_| NoLogin)?);
    let text = std::str::from_utf8(&decoded).map_err(|_| NoLogin)?;
    let (username, password) = text.split_once(':').ok_or(NoLogin)?;
    // Docker once padded with zero bytes, and clients still take them off.
    Ok(Some(Credentials::new(username, password.trim_end_matches('\0'))))
}

/// `https://index.docker.io/v1/` and its like as `host[:port][/path]`.
fn place(key: &str) -> String {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix("/v1").or_else(|| rest.strip_suffix("/v2")).unwrap_or(rest);
    match rest.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host.to_ascii_lowercase()),
        None => rest.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login_for(json: &str, address: &str) -> Option<(String, String)> {
        let config = DockerConfig::parse(json.as_bytes()).expect("legal");
        let login = config.credentials_for(&address.parse().expect("an address"))?;
        Some((login.username().to_owned(), login.reveal_password().to_owned()))
    }

    fn some(username: &str, password: &str) -> Option<(String, String)> {
        Some((username.to_owned(), password.to_owned()))
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        let json = r#"{"auths": {
            "a.example": {"auth": "YW5uOmE6Yg=="},
            "b.example:5000": {"username": "bob", "password": "p\"\\"},
            "c.example": {"auth": "eDp5", "identitytoken": "T"},
            "d.example": {},
            "e.example": {"auth": "YW5uOmE6Yg"}
        }, "credsStore": "desktop"}"#;
        assert_eq!(login_for(json, "a.example"), some("ann", "a:b"));
        assert_eq!(login_for(json, "http://b.example:5000/x"), some("bob", "p\"\\"));
        assert_eq!(login_for(json, "c.example"), some(IDENTITY_TOKEN, "T"));
        assert_eq!(login_for(json, "d.example"), None);
        assert_eq!(login_for(json, "e.example"), some("ann", "a:b"));
        assert_eq!(login_for(json, "b.example"), None);
    }

    #[test]
    fn the_longest_key_above_the_path_wins() {
        let json = r#"{"auths": {
            "h.example": {"username": "host", "password": "x"},
            "h.example/a": {"username": "a", "password": "x"},
            "h.example/a/b": {"username": "ab", "password": "x"}
        }}"#;
        for (address, username) in [
            ("h.example/a/b/c", "ab"),
            ("h.example/a/bc", "a"),
            ("h.example/ab", "host"),
            ("h.example", "host"),
        ] {
            assert_eq!(login_for(json, address), some(username, "x"), "{address}");
        }
    }

    #[test]
    fn docker_hub_is_known_under_all_its_names() {
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"] {
            let json = format!(r#"{{"auths": {{"{key}": {{"auth": "YW5uOmI="}}}}}}"#);
            assert_eq!(login_for(&json, "docker.io/acme"), some("ann", "b"), "{key}");
        }
    }

    #[test]
    fn a_missing_file_of_a_folder_holds_no_login() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DockerConfig::read(&folder.path().join("config.json")).unwrap().logins.is_empty());
        assert!(DockerConfig::read(&folder.path().join("typo/config.json")).is_err());
    }

    #[test]
    fn a_broken_file_is_refused_without_repeating_it() {
        let broken = DockerConfig::parse(br#"{"auths": {"h": {"password": hunter2}}}"#).expect_err("no JSON");
        assert!(!broken.to_string().contains("hunter2"), "{broken}");
        let odd = DockerConfig::parse(br#"{"auths": {"h": {"auth": "hunter2!"}}}"#).expect_err("no base64");
        assert!(odd.to_string().contains("of h ") && !odd.to_string().contains("hunter2"), "{odd}");
        assert!(matches!(
            DockerConfig::read(Path::new("/nonexistent/config.json")),
            Err(DockerConfigError::Read(_))
        ));
    }
}
