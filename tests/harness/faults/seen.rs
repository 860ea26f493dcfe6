//! What passed through a proxy: every request with its headers, its answer and its bytes both ways.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use super::message::Head;

/// One request and what has become of it so far.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When its head had come.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its path with the query.
    pub uri: String,
    /// Its headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The status that the client was sent; 0 while, or when, there was none.
    pub status: u16,
    /// Bytes of its body that came.
    pub sent: u64,
    /// Bytes of the answer's body that went.
    pub received: u64,
}

impl Seen {
    /// The value of one of its headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A request that may still be under way.
#[derive(Debug)]
pub(super) struct Passing {
    at: Instant,
    pub(super) head: Head,
    pub(super) status: AtomicU16,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

impl Passing {
    pub(super) fn new(head: Head) -> Self {
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { at: Instant::now(), head, status: AtomicU16::new(0), sent, received }
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            at: self.at,
            method: self.head.word(0).to_owned(),
            uri: self.head.word(1).to_owned(),
            headers: self.head.headers.clone(),
            status: self.status.load(Ordering::SeqCst),
            sent: self.sent.load(Ordering::SeqCst),
            received: self.received.load(Ordering::SeqCst),
        }
    }
}
