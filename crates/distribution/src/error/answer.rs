//! A registry's refusal as far as we keep it: status, codes, at most 200 printable characters, and
//! what its words hint at. The words of other hosts, and credentials, never get this far.

use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use oci_client::errors::{OciEnvelope, OciError, OciErrorCode};

/// How much of a body an administrator is shown.
const EXCERPT_LIMIT: usize = 200;

/// An answer that is a refusal.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The codes of the OCI error envelope (distribution spec, "Error codes").
    pub codes: Vec<OciErrorCode>,
    /// What the registry says, at most 200 printable characters; empty when another host says it.
    pub text: String,
    /// What the words mean, where registries agree on no code.
    pub hint: Option<Hint>,
    /// How long the registry asks us to stay away.
    pub retry_after: Option<Duration>,
    /// The other host that says it, where another does to which the registry led.
    pub elsewhere: Option<String>,
}

/// What the words of a refusal are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The tag is immutable.
    Immutable,
    /// There is no room, or the quota is used up.
    Full,
    /// A scan is not over, or has found something.
    Scan,
}

impl Answer {
    /// Reads a refusal. `body` is empty when it does not come from the registry's own host;
    /// `secrets` are blotted out, should the body repeat them.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], secrets: &[&str]) -> Self {
        let whole = String::from_utf8_lossy(body);
        let envelope = serde_json::from_slice::<OciEnvelope>(body).ok();
        let said = match &envelope {
            Some(envelope) => envelope.errors.iter().map(words).collect::<Vec<_>>().join("; "),
            None => whole.clone().into_owned(),
        };
        Self {
            status,
            codes: envelope
                .map(|envelope| envelope.errors.into_iter().map(|error| error.code).collect())
                .unwrap_or_default(),
            text: excerpt(&said, secrets),
            hint: hint(&whole),
            retry_after: retry_after(headers, Timestamp::now()),
            elsewhere: None,
        }
    }

    /// Whether the envelope carries the code.
    pub fn has(&self, code: &OciErrorCode) -> bool {
        self.codes.contains(code)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(host) = &self.elsewhere {
            write!(f, " from {host}, where the registry led")?;
        }
        let code = self.codes.first().and_then(|code| serde_json::to_value(code).ok());
        let code = code.as_ref().and_then(|code| code.as_str()).map(|code| excerpt(code, &[]));
        match (code.as_deref(), self.text.as_str()) {
            (None | Some(""), "") => Ok(()),
            (None | Some(""), text) => write!(f, " ({text})"),
            (Some(code), "") => write!(f, " ({code})"),
            (Some(code), text) => write!(f, " ({code}: {text})"),
        }
    }
}

/// The message, and the detail where it is a sentence too: some registries say it there only.
fn words(error: &OciError) -> String {
    match error.detail.as_str() {
        Some(detail) if error.message.is_empty() => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.message),
        None => error.message.clone(),
    }
}

/// At most 200 printable characters of a foreign text, without markup and without the secrets.
pub(crate) fn excerpt(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    let mut plain = String::new();
    let mut in_markup = false;
    for character in text.chars() {
        match character {
            '<' => in_markup = true,
            '>' if in_markup => {
                in_markup = false;
                plain.push(' ');
            }
            _ if in_markup => {}
            // Direction marks and invisible characters would let a registry disguise what it says.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {}
            character if character.is_control() || character.is_whitespace() => plain.push(' '),
            character => plain.push(character),
        }
    }
    let words = plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    words.chars().take(EXCERPT_LIMIT).collect()
}

fn hint(text: &str) -> Option<Hint> {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["immutab", "cannot be overwritten"]) {
        Some(Hint::Immutable)
    } else if says(&[
        "no space left",
        "insufficient storage",
        "quota",
        "exceed the configured upper limit",
        "disk full",
        // Distribution's filesystem driver shows ENOSPC by its number only.
        "\"err\":28",
    ]) {
        Some(Hint::Full)
    } else if says(&["scan", "vulnerab", "severity", "quarantine"]) {
        Some(Hint::Scan)
    } else {
        None
    }
}

/// `Retry-After` as a wait from `now`, in either of its forms (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit is long.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()?;
    Some(at.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(
            StatusCode::from_u16(status).expect("legal"),
            &HeaderMap::new(),
            body.as_bytes(),
            &["hunter2"],
        )
    }

    #[test]
    fn an_envelope_becomes_its_code_and_message() {
        let said = answer(403, r#"{"errors":[{"code":"DENIED","message":"no push","detail":{"x":1}}]}"#);
        assert!(said.has(&OciErrorCode::Denied));
        assert_eq!(said.to_string(), "403 Forbidden (DENIED: no push)");
    }

    #[test]
    fn a_detail_that_is_a_sentence_is_kept() {
        let body = r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":"write /x: no space left on device"}]}"#;
        let said = answer(500, body);
        assert_eq!(said.text, "unknown error: write /x: no space left on device");
        assert_eq!(said.hint, Some(Hint::Full));
    }

    #[test]
    fn a_gateways_page_becomes_its_words() {
        let said = answer(502, "<html><head><title>502 Bad Gateway</title></head>\r\n<hr>nginx</html>");
        assert_eq!(said.to_string(), "502 Bad Gateway (502 Bad Gateway nginx)");
    }

    #[test]
    fn at_most_200_printable_characters_are_kept_and_no_secret() {
        let said = answer(500, &format!("Basic hunter2\u{7}\u{202e}{}", "x".repeat(5_000)));
        assert_eq!(said.text.chars().count(), 200);
        assert!(said.text.starts_with("Basic [redacted] xxx"), "{}", said.text);
    }

    #[test]
    fn words_of_known_registries_are_understood() {
        let cases = [
            ("configured as immutable", Hint::Immutable),
            ("already exists and cannot be overwritten because the tag is immutable", Hint::Immutable),
            (
                r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Err":28}}}]}"#,
                Hint::Full,
            ),
            ("adding 1 MiB will exceed the configured upper limit", Hint::Full),
            ("current image without vulnerability scanning cannot be pulled", Hint::Scan),
        ];
        for (text, hint) in cases {
            assert_eq!(answer(412, text).hint, Some(hint), "{text}");
        }
        assert_eq!(answer(500, "boom").hint, None);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let now: Timestamp = "2015-10-21T07:28:00Z".parse().expect("legal");
        let read = |value: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("legal"))]), now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("99999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("Wed, 21 Oct 2015 07:29:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
