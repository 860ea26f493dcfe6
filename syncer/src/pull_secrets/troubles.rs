//! What keeps the pull Secrets from being as they should be, by subject: a warning in the log once, and a
//! note in the text of `/readyz` while it lasts. It never makes the syncer unready: pushes go on.

use std::collections::BTreeMap;

use runtime::admin::Condition;
use tracing::warn;

/// Troubles that last.
pub(super) struct Troubles {
    condition: Condition,
    lasting: BTreeMap<String, String>,
    told: Option<String>,
}

impl Troubles {
    /// None so far.
    pub(super) fn new(condition: Condition) -> Self {
        Self { condition, lasting: BTreeMap::new(), told: None }
    }

    /// There is one with this subject.
    pub(super) fn add(&mut self, subject: &str, trouble: String) {
        if self.lasting.get(subject) != Some(&trouble) {
            warn!("the pull Secrets are not as they should be: {subject}: {trouble}");
            self.lasting.insert(subject.to_owned(), trouble);
        }
    }

    /// There is none any more with this subject.
    pub(super) fn remove(&mut self, subject: &str) {
        self.lasting.remove(subject);
    }

    /// Nor with any whose name begins like this.
    pub(super) fn remove_all(&mut self, beginning: &str) {
        self.lasting.retain(|subject, _| !subject.starts_with(beginning));
    }

    /// Brings the note up to date.
    pub(super) fn tell(&mut self, is_complete: bool) {
        let note = match self.lasting.first_key_value() {
            Some((subject, trouble)) if self.lasting.len() == 1 => format!("{subject}: {trouble}"),
            Some((subject, trouble)) => {
                format!("{subject}: {trouble} (and {} more, see the log)", self.lasting.len() - 1)
            }
            None if !is_complete => "the API server has not answered yet".to_owned(),
            None => String::new(),
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
