//! Readiness as several named conditions, each with words. A program makes one condition for
//! each thing it needs and keeps it current; the admin server reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
enum State {
    Ready,
    Noted(String),
    Unready(String),
}

/// What a process needs to be ready; clones share it. Without conditions it is ready.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, State>>>);

/// One thing a process needs, unready until said otherwise; clones share it.
#[derive(Debug, Clone)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Adds a condition, for now unready.
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition { health: self.clone(), name };
        condition.unready("starting");
        condition
    }

    /// `ok` and the notes, a line each; or every reason why not, a line each.
    pub fn readiness(&self) -> Result<String, String> {
        let mut notes = vec!["ok".to_owned()];
        let mut reasons = Vec::new();
        for (name, state) in self.states().iter() {
            match state {
                State::Ready => {}
                State::Noted(note) => notes.push(format!("{name}: {note}")),
                State::Unready(reason) => reasons.push(format!("{name}: {reason}")),
            }
        }
        if reasons.is_empty() { Ok(notes.join("\n")) } else { Err(reasons.join("\n")) }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        // One insertion is all that ever happens under the lock, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// It holds.
    pub fn ready(&self) {
        self.set(State::Ready);
    }

    /// It holds, and the text of `/readyz` says something about it.
    pub fn ready_with(&self, note: impl Into<String>) {
        self.set(State::Noted(note.into()));
    }

    /// It does not hold, for a reason in words.
    pub fn unready(&self, reason: impl Into<String>) {
        self.set(State::Unready(reason.into()));
    }

    fn set(&self, state: State) {
        self.health.states().insert(self.name, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_condition_holds() {
        let health = Health::default();
        let routes = health.condition("routes");
        let certificate = health.condition("certificate");
        assert_eq!(health.readiness().unwrap_err(), "certificate: starting\nroutes: starting");
        certificate.ready();
        assert_eq!(health.readiness().unwrap_err(), "routes: starting");
        routes.ready();
        assert_eq!(health.readiness().unwrap(), "ok");
        routes.ready_with("the database file is gone");
        assert_eq!(health.readiness().unwrap(), "ok\nroutes: the database file is gone");
    }
}
