//! What keeps `pull_secrets` or the `auditor` from its work, by subject: a warning in the log once, and a
//! note in the text of `/readyz` while it lasts. It never makes the syncer unready: pushes go on.

use std::collections::BTreeMap;

use runtime::admin::Condition;
use tracing::warn;

/// Troubles that last.
pub(crate) struct Troubles {
    condition: Condition,
    /// What they come to.
    harm: &'static str,
    lasting: BTreeMap<String, String>,
    told: Option<String>,
}

impl Troubles {
    /// None so far.
    pub(crate) fn new(condition: Condition, harm: &'static str) -> Self {
        Self { condition, harm, lasting: BTreeMap::new(), told: None }
    }

    /// There is one with this subject.
    pub(crate) fn add(&mut self, subject: &str, trouble: String) {
        if self.lasting.get(subject) != Some(&trouble) {
            warn!("{}: {subject}: {trouble}", self.harm);
            self.lasting.insert(subject.to_owned(), trouble);
        }
    }

    /// There is none any more with this subject.
    pub(crate) fn remove(&mut self, subject: &str) {
        self.lasting.remove(subject);
    }

    /// Nor with any whose name begins like this.
    pub(crate) fn remove_all(&mut self, beginning: &str) {
        self.lasting.retain(|subject, _| !subject.starts_with(beginning));
    }

    /// Whether there is one with this subject.
    pub(crate) fn has(&self, subject: &str) -> bool {
        self.lasting.contains_key(subject)
    }

    /// Brings the note up to date. Without troubles it is what is `awaited`, if anything is.
    pub(crate) fn tell(&mut self, awaited: Option<&str>) {
        let note = match self.lasting.first_key_value() {
            Some((subject, trouble)) if self.lasting.len() == 1 => format!("{subject}: {trouble}"),
            Some((subject, trouble)) => {
                format!("{subject}: {trouble} (and {} more, see the log)", self.lasting.len() - 1)
            }
            None => awaited.unwrap_or_default().to_owned(),
        };
        if self.told.as_ref() != Some(&note) {
            match note.is_empty() {
                true => self.condition.ready(),
                false => self.condition.ready_with(&note),
            }
            self.told = Some(note);
        }
    }
}
