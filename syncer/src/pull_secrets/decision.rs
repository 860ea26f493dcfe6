//! What is to be done about the pull Secret of one namespace: pure, from what the API server has shown.

use std::sync::Arc;

use domain::labels::MANAGED_BY;
use k8s_openapi::api::core::v1::Secret;

use super::logins::Logins;

/// Where a Secret of that type holds its Docker config.json.
pub(super) const CONFIG: &str = ".dockerconfigjson";
/// The type of a Secret that the kubelet pulls with.
pub(super) const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// Of a Secret that has our name, what is decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) uid: String,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It does not carry our label: somebody else's.
    Foreign,
    /// Ours, and nothing can be written into it: its type is another, or it is immutable.
    Closed,
    /// Ours, with something else than we would write.
    Damaged(Logins),
    /// Ours, as we write it.
    Whole(Arc<Logins>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it is as it should be.
    Rest,
    /// Nothing, since it is somebody else's, which is told.
    Leave,
    /// This is written, over the Secret of this uid if there is one.
    Write(Arc<Logins>, Option<String>),
    /// The Secret of this uid is deleted. A new one follows where one should be.
    Delete(String),
}

impl Found {
    /// Reads a Secret. Logins equal to the wanted ones are not held twice.
    pub(super) fn of(secret: &Secret, wanted: &Arc<Logins>) -> Self {
        let uid = secret.metadata.uid.clone().unwrap_or_default();
        Self { uid, state: State::of(secret, wanted) }
    }

    /// The logins that it holds.
    pub(super) fn logins(&self) -> Option<&Logins> {
        match &self.state {
            State::Foreign | State::Closed => None,
            State::Damaged(logins) => Some(logins),
            State::Whole(logins) => Some(logins),
        }
    }
}

impl State {
    fn of(secret: &Secret, wanted: &Arc<Logins>) -> Self {
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
        if label.map(String::as_str) != Some(MANAGED_BY.1) {
            return Self::Foreign;
        }
        if secret.type_.as_deref() != Some(TYPE) || secret.immutable == Some(true) {
            return Self::Closed;
        }
        let json = secret.data.as_ref().and_then(|data| data.get(CONFIG)).map_or(&[][..], |bytes| &bytes.0);
        let logins = Logins::from_json(json).unwrap_or_default();
        if *logins.to_json() != json {
            Self::Damaged(logins)
        } else if logins == **wanted {
            Self::Whole(wanted.clone())
        } else {
            Self::Whole(Arc::new(logins))
        }
    }
}

/// Decides about one namespace. `is_needed` tells whether a pod there still pulls from a place whose
/// registry has gone.
pub(super) fn step(
    takes_part: bool,
    found: Option<&Found>,
    wanted: &Arc<Logins>,
    is_needed: impl Fn(&str) -> bool,
) -> Step {
    let Some(found) = found else {
        return if takes_part { Step::Write(wanted.clone(), None) } else { Step::Rest };
    };
    let (held, is_whole) = match &found.state {
        State::Foreign => return if takes_part { Step::Leave } else { Step::Rest },
        State::Closed => return Step::Delete(found.uid.clone()),
        _ if !takes_part => return Step::Delete(found.uid.clone()),
        State::Whole(held) if Arc::ptr_eq(held, wanted) => return Step::Rest,
        State::Whole(held) => (&**held, true),
        State::Damaged(held) => (held, false),
    };
    let logins = wanted.and_needed(held, is_needed);
    match is_whole && logins == *held {
        true => Step::Rest,
        false if logins == **wanted => Step::Write(wanted.clone(), Some(found.uid.clone())),
        false => Step::Write(Arc::new(logins), Some(found.uid.clone())),
    }
}

#[cfg(test)]
mod tests {
    use domain::credentials::Credentials;
    use serde_json::{Value, json};

    use super::*;

    fn logins(addresses: &[&str]) -> Arc<Logins> {
        let mut logins = Logins::default();
        for address in addresses {
            logins.add(&address.parse().unwrap(), Credentials::new("reader", "secret"));
        }
        Arc::new(logins)
    }

    /// Our Secret with these logins, and something changed.
    fn secret(held: &Logins, changed: Value) -> Secret {
        let bytes = k8s_openapi::ByteString(held.to_json().to_vec());
        let mut secret = json!({
            "metadata": {"uid": "u", "labels": {"app.kubernetes.io/managed-by": "drayage"}},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": bytes},
        });
        for (key, value) in changed.as_object().unwrap() {
            secret[key] = value.clone();
        }
        serde_json::from_value(secret).unwrap()
    }

    fn stepped(takes_part: bool, found: Option<Secret>, wanted: &Arc<Logins>, needed: &[&str]) -> Step {
        let found = found.map(|secret| Found::of(&secret, wanted));
        step(takes_part, found.as_ref(), wanted, |place| needed.contains(&place))
    }

    #[test]
    fn a_secret_is_there_exactly_where_a_namespace_takes_part() {
        let wanted = logins(&["a.example"]);
        assert_eq!(stepped(false, None, &wanted, &[]), Step::Rest);
        assert_eq!(stepped(true, None, &wanted, &[]), Step::Write(wanted.clone(), None));
        let there = secret(&wanted, json!({}));
        assert_eq!(stepped(true, Some(there.clone()), &wanted, &[]), Step::Rest);
        assert_eq!(stepped(false, Some(there), &wanted, &[]), Step::Delete("u".to_owned()));
    }

    #[test]
    fn what_was_edited_is_put_right() {
        let wanted = logins(&["a.example", "b.example/x"]);
        let write = Step::Write(wanted.clone(), Some("u".to_owned()));
        let padded = k8s_openapi::ByteString([wanted.to_json().as_slice(), b"\n"].concat());
        for data in [
            Value::Null,
            json!({}),
            json!({".dockerconfigjson": ""}),
            json!({".dockerconfigjson": "bm8ganNvbg=="}),
            json!({".dockerconfigjson": "eyJhdXRocyI6e319"}),
            json!({".dockerconfigjson": padded}),
        ] {
            let edited = secret(&wanted, json!({"data": data}));
            assert_eq!(stepped(true, Some(edited), &wanted, &[]), write, "{data}");
        }
        for closed in [json!({"immutable": true}), json!({"type": "Opaque"})] {
            let closed = secret(&wanted, closed);
            assert_eq!(stepped(true, Some(closed), &wanted, &[]), Step::Delete("u".to_owned()));
        }
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let wanted = logins(&["a.example"]);
        for metadata in
            [json!({"uid": "u"}), json!({"uid": "u", "labels": {"app.kubernetes.io/managed-by": "Helm"}})]
        {
            for more in [json!({"metadata": metadata}), json!({"metadata": metadata, "type": "Opaque"})] {
                let foreign = secret(&logins(&[]), more);
                assert_eq!(stepped(true, Some(foreign.clone()), &wanted, &[]), Step::Leave);
                assert_eq!(stepped(false, Some(foreign), &wanted, &[]), Step::Rest);
            }
        }
    }

    #[test]
    fn the_login_of_a_registry_that_has_gone_stays_while_a_pod_needs_it() {
        let (wanted, former) = (logins(&["a.example"]), logins(&["a.example", "b.example"]));
        let there = || Some(secret(&former, json!({})));
        assert_eq!(stepped(true, there(), &wanted, &["b.example"]), Step::Rest);
        assert_eq!(stepped(true, there(), &wanted, &[]), Step::Write(wanted.clone(), Some("u".to_owned())));
        let more = logins(&["a.example", "c.example"]);
        let all = logins(&["a.example", "b.example", "c.example"]);
        assert_eq!(stepped(true, there(), &more, &["b.example"]), Step::Write(all, Some("u".to_owned())));
    }

    #[test]
    fn equal_logins_are_held_once() {
        let wanted = logins(&["a.example"]);
        let found = Found::of(&secret(&wanted, json!({})), &wanted);
        assert!(matches!(found.state, State::Whole(held) if Arc::ptr_eq(&held, &wanted)));
    }
}
