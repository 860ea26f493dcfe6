//! What a proxy does to which requests, as data that a claim reads like a sentence:
//! `proxy.once(put("*/manifests/*"), answer(503).with("retry-after", "1"))`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::message::Head;

/// Some of the requests: by method and by a pattern of path and query, in which `*` stands for anything.
#[derive(Debug, Clone)]
pub struct When {
    method: Option<&'static str>,
    pattern: String,
    larger_than: Option<u64>,
    without: Option<(&'static str, &'static str)>,
    from: u64,
}

/// Requests of any method.
pub fn any(pattern: impl Into<String>) -> When {
    When { method: None, pattern: pattern.into(), larger_than: None, without: None, from: 1 }
}

/// `GET` requests.
pub fn get(pattern: impl Into<String>) -> When {
    When { method: Some("GET"), ..any(pattern) }
}

/// `HEAD` requests.
pub fn head(pattern: impl Into<String>) -> When {
    When { method: Some("HEAD"), ..any(pattern) }
}

/// `POST` requests.
pub fn post(pattern: impl Into<String>) -> When {
    When { method: Some("POST"), ..any(pattern) }
}

/// `PUT` requests.
pub fn put(pattern: impl Into<String>) -> When {
    When { method: Some("PUT"), ..any(pattern) }
}

/// `PATCH` requests.
pub fn patch(pattern: impl Into<String>) -> When {
    When { method: Some("PATCH"), ..any(pattern) }
}

impl When {
    /// Only those that announce a body of more bytes.
    pub fn larger_than(self, bytes: u64) -> Self {
        Self { larger_than: Some(bytes), ..self }
    }

    /// Only those that lack a header that begins so.
    pub fn without(self, header: &'static str, beginning: &'static str) -> Self {
        Self { without: Some((header, beginning)), ..self }
    }

    /// Only from the `nth` of them on, counted from 1.
    pub fn nth(self, nth: u64) -> Self {
        Self { from: nth, ..self }
    }

    pub(super) fn matches(&self, head: &Head) -> bool {
        let length = || head.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let begins = |(name, beginning)| head.header(name).is_some_and(|value| value.starts_with(beginning));
        self.method.is_none_or(|method| method == head.word(0))
            && fits(&self.pattern, head.word(1))
            && self.larger_than.is_none_or(|bytes| length().is_none_or(|length| length > bytes))
            && !self.without.is_some_and(begins)
    }
}

/// Whether a text is the pattern, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An answer, made up or on its way.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, their names in lower case, without those of the framing.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer of this status with nothing in it.
pub fn answer(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

impl Reply {
    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Has this body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Has the body of an error as registries write it.
    pub fn error(self, code: &str, message: &str) -> Self {
        let error = serde_json::json!({"errors": [{"code": code, "message": message}]});
        self.with("content-type", "application/json").body(error.to_string())
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Replaces a header; `None` takes it away.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
    }
}

type Change = Arc<dyn Fn(&mut Reply) + Send + Sync>;

/// What happens to a request instead of being passed on and answered.
#[derive(Clone)]
pub enum Fault {
    /// It is read and answered so; nobody else learns of it.
    Answer(Reply),
    /// It is answered so before its body is read, and the connection ends.
    AnswerUnread(Reply),
    /// The connection is reset once so many bytes of its body were passed on.
    ResetRequest(u64),
    /// It is passed on whole, and the connection is reset before the answer.
    LoseAnswer,
    /// The connection is reset after so many bytes of the answer's body.
    ResetAnswer(u64),
    /// The connection ends in good order after so many bytes of the answer's body.
    CutAnswer(u64),
    /// Nothing is read any more once so many bytes of its body were passed on.
    StallRequest(u64),
    /// Nothing comes any more after so many bytes of the answer's body.
    StallAnswer(u64),
    /// The answer announces a body longer or shorter than it is.
    Announce(i64),
    /// The answer is changed on its way.
    Change(Change),
}

impl From<Reply> for Fault {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

/// Changes the answer on its way.
pub fn change(change: impl Fn(&mut Reply) + Send + Sync + 'static) -> Fault {
    Fault::Change(Arc::new(change))
}

/// Changes the answer's `Location` on its way; to `None` takes it away.
pub fn relocate(to: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Fault {
    change(move |reply| {
        let location = reply.header("location").and_then(&to);
        reply.set("location", location);
    })
}

/// One rule of a proxy, for whoever made it.
#[derive(Debug, Clone)]
pub struct Rule(pub(super) Arc<Armed>);

impl Rule {
    /// Lets requests pass from now on.
    pub fn off(&self) {
        self.0.on.store(false, Ordering::SeqCst);
    }

    /// How often it has been applied.
    pub fn applied(&self) -> u64 {
        self.0.applied.load(Ordering::SeqCst)
    }
}

/// A rule with what has become of it.
pub(super) struct Armed {
    when: When,
    times: u64,
    fault: Fault,
    on: AtomicBool,
    matched: AtomicU64,
    applied: AtomicU64,
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, applied {:?}", self.when, self.applied)
    }
}

impl Armed {
    pub(super) fn new(when: When, times: u64, fault: Fault) -> Self {
        let (matched, applied) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { when, times, fault, on: AtomicBool::new(true), matched, applied }
    }

    /// What it does to a request, if anything. Counts.
    pub(super) fn fault(&self, head: &Head) -> Option<Fault> {
        if !self.on.load(Ordering::SeqCst) || !self.when.matches(head) {
            return None;
        }
        let nth = self.matched.fetch_add(1, Ordering::SeqCst) + 1;
        let applies = nth >= self.when.from && nth - self.when.from < self.times;
        if !applies {
            return None;
        }
        self.applied.fetch_add(1, Ordering::SeqCst);
        Some(self.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in
            [("*", ""), ("/a", "/a"), ("/a*", "/ab"), ("*b*", "/abc"), ("*/b/*c", "/a/b/xc")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "/a"), ("/a", "/ab"), ("*b", "/abc"), ("*/b/*c*d", "/a/b/d"), ("a*", "ba")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
