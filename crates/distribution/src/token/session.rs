//! What one registry wants to see of one login, and the tokens got for it: kept by the transport, so
//! that a later `Registry` for the same login begins where the last one ended. A login itself is not
//! kept: it goes when the push that carried it ends. Called by `token`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::credentials::Credentials;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Challenge, Scope};

/// Registries times logins; whoever was not asked for longest goes first.
const SESSIONS_LIMIT: usize = 256;
/// Repositories times what is done with them; all go at once, since tokens live for minutes.
const SCOPES_LIMIT: usize = 1024;
/// How long a login that was good is taken for good where nothing has to be proven.
const ACCEPTED_FOR: Duration = Duration::from_secs(60);

/// A token and the end of its life.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) until: Instant,
}

/// Locked while its token is fetched: whoever else wants it waits for it.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// What is known of one login at one registry.
#[derive(Default)]
pub(crate) struct Session {
    challenge: Mutex<Option<Challenge>>,
    slots: Mutex<HashMap<Scope, Slot>>,
    accepted: Mutex<Option<Instant>>,
}

impl Session {
    pub(super) fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    /// Takes up what the registry asks for. Whether that is news.
    pub(super) fn learn(&self, challenge: Challenge) -> bool {
        let mut known = lock(&self.challenge);
        let news = known.as_ref() != Some(&challenge);
        if news {
            lock(&self.slots).clear();
            *known = Some(challenge);
        }
        news
    }

    /// Forgets what the registry asked for, unless it has asked for something else since.
    pub(super) fn forget(&self, challenge: &Challenge) {
        lock(&self.challenge).take_if(|known| known == challenge);
    }

    pub(super) fn slot(&self, scope: &Scope) -> Slot {
        let mut slots = lock(&self.slots);
        if slots.len() >= SCOPES_LIMIT && !slots.contains_key(scope) {
            slots.clear();
        }
        slots.entry(scope.clone()).or_default().clone()
    }

    pub(super) fn is_accepted(&self) -> bool {
        lock(&self.accepted).is_some_and(|at| at.elapsed() < ACCEPTED_FOR)
    }

    pub(super) fn accept(&self, good: bool) {
        *lock(&self.accepted) = good.then(Instant::now);
    }
}

/// An origin and the digest of a login.
type Key = (String, Option<[u8; 32]>);

/// The sessions of a transport.
#[derive(Default)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<Key, (Arc<Session>, Instant)>>,
}

impl Sessions {
    /// The session of a login at an origin.
    pub(crate) fn session(&self, origin: &Url, login: Option<&Credentials>) -> Arc<Session> {
        let key = (origin.origin().ascii_serialization(), login.map(fingerprint));
        let mut known = lock(&self.known);
        if known.len() >= SESSIONS_LIMIT && !known.contains_key(&key) {
            let oldest = known.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            known.retain(|key, _| Some(key) != oldest.as_ref());
        }
        let (session, used) = known.entry(key).or_insert_with(|| (Arc::default(), Instant::now()));
        *used = Instant::now();
        session.clone()
    }
}

fn fingerprint(login: &Credentials) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // The length keeps apart what the two parts would run together.
    hasher.update((login.username().len() as u64).to_be_bytes());
    hasher.update(login.username());
    hasher.update(login.reveal_password());
    hasher.finalize().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_belongs_to_one_login_at_one_origin() {
        let sessions = Sessions::default();
        let at = |url: &str| Url::parse(url).expect("legal");
        let login = |name: &str, password: &str| Credentials::new(name, password);
        let ann = login("ann", "b");
        let session = sessions.session(&at("https://h.example/"), Some(&ann));
        assert!(Arc::ptr_eq(&session, &sessions.session(&at("https://h.example/"), Some(&ann))));
        for (url, login) in [
            ("https://h.example/", Some(login("an", "nb"))),
            ("https://h.example/", None),
            ("http://h.example/", Some(ann.clone())),
            ("https://h.example:5000/", Some(ann.clone())),
        ] {
            assert!(!Arc::ptr_eq(&session, &sessions.session(&at(url), login.as_ref())), "{url}");
        }
    }

    #[test]
    fn the_session_that_was_not_asked_for_longest_makes_room() {
        let sessions = Sessions::default();
        let at = |port: usize| Url::parse(&format!("http://h.example:{port}/")).expect("legal");
        let first = sessions.session(&at(1), None);
        let second = sessions.session(&at(2), None);
        for port in 3..=SESSIONS_LIMIT {
            sessions.session(&at(port), None);
        }
        assert!(Arc::ptr_eq(&first, &sessions.session(&at(1), None)));
        sessions.session(&at(SESSIONS_LIMIT + 1), None);
        assert!(Arc::ptr_eq(&first, &sessions.session(&at(1), None)));
        assert!(!Arc::ptr_eq(&second, &sessions.session(&at(2), None)));
    }
}
