//! A scripted registry that puts uploads together, unless a test has another answer for a request.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest_of;
use crate::scripted::{Reply, Scripted, Seen};

/// The registry; gone when dropped.
pub(crate) struct Storing {
    pub(crate) server: Scripted,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    /// Of the upload that was opened last.
    bytes: Vec<u8>,
    /// Every answer names a new location, and only the newest is good.
    location: usize,
    /// Bytes of blobs that ever came.
    came: usize,
}

impl Storing {
    /// A registry whose uploads lie below `prefix` and that asks `first`, with how many bytes the upload
    /// has, for each request. The bytes of a request are kept unless `first` blames the client.
    pub(crate) async fn start(
        prefix: &'static str,
        first: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let stored = Arc::<Mutex<Stored>>::default();
        let ours = stored.clone();
        let server = Scripted::start(move |seen| {
            let mut stored = ours.lock().expect("whole");
            stored.came += if seen.path.starts_with(prefix) { seen.body.len() } else { 0 };
            match first(seen, stored.bytes.len()) {
                Some(reply) => {
                    if !(400..500).contains(&reply.status) {
                        stored.bytes.extend_from_slice(&seen.body);
                    }
                    reply
                }
                None => stored.answer(seen, prefix),
            }
        })
        .await;
        Self { server, stored }
    }

    pub(crate) fn host(&self) -> &str {
        &self.server.host
    }

    /// What the last upload has put together.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// How many bytes of blobs ever came.
    pub(crate) fn came(&self) -> usize {
        self.lock().came
    }

    /// The methods of all requests so far.
    pub(crate) fn methods(&self) -> String {
        let seen = self.server.seen();
        seen.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("whole")
    }
}

impl Stored {
    fn answer(&mut self, seen: &Seen, prefix: &str) -> Reply {
        if seen.method == "POST" {
            self.bytes.clear();
        } else if seen.method == "HEAD" || !seen.path.starts_with(&self.here(prefix)) {
            return Reply::new(404);
        }
        self.bytes.extend_from_slice(&seen.body);
        self.location += 1;
        let reply = match seen.method.as_str() {
            "GET" => Reply::new(204),
            "PUT" => {
                let digest = digest_of(&self.bytes).as_str().replace(':', "%3A");
                let good = seen.path.ends_with(&format!("&digest={digest}"));
                let wrong = r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
                return if good { Reply::new(201) } else { Reply::new(400).body(wrong) };
            }
            _ => Reply::new(202),
        };
        let last = self.bytes.len().saturating_sub(1);
        reply.header("Location", self.here(prefix)).header("Range", format!("0-{last}"))
    }

    fn here(&self, prefix: &str) -> String {
        format!("{prefix}?state={}.", self.location)
    }
}
