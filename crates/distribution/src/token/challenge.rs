//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1; distribution's token specification).

use std::collections::HashMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use crate::error::excerpt;

/// How a registry wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// With the login.
    Basic,
    /// With a token of the service at `realm`.
    Bearer { realm: Url, service: Option<String> },
}

impl Challenge {
    /// The strongest challenge that we can meet, and the `error` beside it.
    pub(crate) fn read(headers: &HeaderMap) -> (Option<Self>, Option<String>) {
        let mut found = (None, None);
        for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
            for (scheme, mut parameters) in challenges(value) {
                let error = parameters.remove("error");
                match scheme.as_str() {
                    "bearer" => {
                        let realm = parameters.remove("realm").and_then(|realm| Url::parse(&realm).ok());
                        if let Some(realm) = realm {
                            let service = parameters.remove("service").filter(|service| !service.is_empty());
                            return (Some(Self::Bearer { realm, service }), error);
                        }
                    }
                    "basic" => found = (Some(Self::Basic), error),
                    _ => {}
                }
            }
        }
        found
    }

    /// What is asked for, where it is nothing that [`Challenge::read`] can meet; at most 80 characters.
    pub(crate) fn asked(headers: &HeaderMap) -> Option<String> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let schemes = values.flat_map(challenges).map(|(scheme, _)| match scheme.as_str() {
            "bearer" => "bearer (without the URL of a token service)".to_owned(),
            _ => scheme,
        });
        let schemes = schemes.collect::<Vec<_>>().join(" or ");
        (!schemes.is_empty()).then(|| excerpt(&schemes, &[]).chars().take(80).collect())
    }
}

/// Every challenge of one header, with its scheme and its parameters' names in lower case.
fn challenges(value: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // The end, or a stray `=` after which nothing can be told apart.
            return found;
        }
        let word = word.to_ascii_lowercase();
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(text) => {
                let (text, after) = parameter(text.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.entry(word).or_insert(text);
                }
                rest = after;
            }
            None => {
                found.push((word, HashMap::new()));
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (word.to_owned(), rest);
    };
    let mut plain = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (plain, &quoted[at + 1..]),
            '\\' => plain.extend(characters.next().map(|(_, escaped)| escaped)),
            character => plain.push(character),
        }
    }
    (plain, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> (Option<Challenge>, Option<String>) {
        let headers = values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().expect("legal")));
        Challenge::read(&headers.collect())
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.parse().expect("a URL"), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_of_the_field_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        assert_eq!(
            read(&[hub]),
            (
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
                Some("insufficient_scope".into())
            )
        );
        assert_eq!(read(&[r#"Basic realm="basic-realm""#]).0, Some(Challenge::Basic));
        assert_eq!(read(&["BASIC"]).0, Some(Challenge::Basic));
        assert_eq!(
            read(&[r#"bearer Realm = "https://x.example/a?b=c""#]).0,
            bearer("https://x.example/a?b=c", None)
        );
        assert_eq!(
            read(&[r#"Basic realm="x", Bearer realm="https://x.example/""#]).0,
            bearer("https://x.example/", None)
        );
        assert_eq!(
            read(&["Basic", r#"Bearer realm="https://x.example/""#]).0,
            bearer("https://x.example/", None)
        );
        assert_eq!(read(&["Negotiate", r#"Basic realm="a\"b, Bearer""#]).0, Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for value in [
            "",
            "=",
            ",,,",
            "Bearer",
            "Bearer realm=",
            "Bearer realm=\"/relative\"",
            "Bearer realm=\"x",
            "=\"\\",
        ] {
            assert_eq!(read(&[value]).0, None, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_met_is_named() {
        let asked = |values: &[&str]| {
            let headers = values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().expect("legal")));
            Challenge::asked(&headers.collect())
        };
        assert_eq!(asked(&["Negotiate abc==", "NTLM"]).as_deref(), Some("negotiate or ntlm"));
        assert_eq!(
            asked(&["Bearer realm=\"/x\""]).as_deref(),
            Some("bearer (without the URL of a token service)")
        );
        assert_eq!(asked(&["x".repeat(500).as_str()]).expect("something").len(), 80);
        assert_eq!((asked(&[]), asked(&[""])), (None, None));
    }
}
