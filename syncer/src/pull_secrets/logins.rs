//! What a pull Secret holds: logins by `host[:port][/path]`, as a Docker config.json that the kubelet reads.
//! Pure; where the logins come from and who needs them is told by the caller.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::credentials::Credentials;
use domain::reference::Reference;
use domain::registry::Address;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Logins to registries by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Logins(BTreeMap<String, Credentials>);

#[derive(Deserialize, Serialize)]
struct File<E> {
    auths: BTreeMap<String, E>,
}

/// With `auth` beside its parts, as `kubectl create secret docker-registry` writes it: some programs read
/// the one, some the others.
#[derive(Serialize)]
struct Written<'a> {
    auth: Zeroizing<String>,
    password: &'a str,
    username: &'a str,
}

#[derive(Deserialize)]
struct Read {
    password: Zeroizing<String>,
    username: String,
}

impl Logins {
    /// Adds the login to a registry. Of two at the same address the one that is added last counts.
    pub(super) fn add(&mut self, address: &Address, login: Credentials) {
        self.0.insert(place(address), login);
    }

    /// The places.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The places here that are not there.
    pub(super) fn beyond<'a>(&'a self, there: &'a Self) -> impl Iterator<Item = &'a str> {
        self.places().filter(|place| !there.0.contains_key(*place))
    }

    /// These, and of the former ones those that are still needed.
    pub(super) fn and_needed(&self, former: &Self, is_needed: impl Fn(&str) -> bool) -> Self {
        let mut logins = self.clone();
        for place in former.beyond(self).filter(|place| is_needed(place)) {
            logins
                .0
                .extend(former.0.get_key_value(place).map(|(place, login)| (place.clone(), login.clone())));
        }
        logins
    }

    /// As a Docker config.json. Equal logins give equal bytes.
    pub(super) fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let auths = self.0.iter().map(|(place, login)| {
            let (username, password) = (login.username(), login.reveal_password());
            let auth =
                Zeroizing::new(BASE64.encode(Zeroizing::new(format!("{username}:{password}")).as_bytes()));
            (place.clone(), Written { auth, password, username })
        });
        // Texts always serialise.
        Zeroizing::new(serde_json::to_vec(&File { auths: auths.collect() }).unwrap_or_default())
    }

    /// What [`Self::to_json`] has written; `None` for anything else.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        let file: File<Read> = serde_json::from_slice(json).ok()?;
        let logins = file.auths.into_iter().map(|(place, Read { username, password })| {
            (place, Credentials::new(username, password.as_str()))
        });
        Some(Self(logins.collect()))
    }
}

/// How a Docker config.json names an address: without a scheme.
fn place(address: &Address) -> String {
    match address.path() {
        Some(path) => format!("{}/{path}", address.host()),
        None => address.host().to_string(),
    }
}

/// Whether the login of a place pulls an image.
pub(super) fn pulls(place: &str, image: &str) -> bool {
    let Ok(reference) = Reference::parse(image) else { return false };
    let name = format!("{}/{}", reference.host(), reference.repository());
    name.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(entries: &[(&str, &str)]) -> Logins {
        let mut logins = Logins::default();
        for (address, password) in entries {
            logins.add(&address.parse().unwrap(), Credentials::new("reader", *password));
        }
        logins
    }

    #[test]
    fn every_password_comes_back_whichever_part_is_read() {
        for password in ["plain", "q\"uo\\te", "pässwörd-\u{1F6A2}", "a:b", "\u{0}\n", " "] {
            let written = logins(&[("http://r.example:5000/inspected", password)]);
            let json = written.to_json();
            assert_eq!(Logins::from_json(&json), Some(written));
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let entry = &json["auths"]["r.example:5000/inspected"];
            assert_eq!((&entry["username"], &entry["password"]), (&"reader".into(), &password.into()));
            let auth = BASE64.decode(entry["auth"].as_str().unwrap()).unwrap();
            assert_eq!(auth, format!("reader:{password}").into_bytes());
        }
        assert_eq!(*logins(&[]).to_json(), *br#"{"auths":{}}"#);
        assert!(!format!("{:?}", logins(&[("r.example", "hunter2")])).contains("hunter2"));
    }

    #[test]
    fn an_address_is_named_without_its_scheme_and_the_last_login_counts() {
        let logins = logins(&[("r.example/a", "1"), ("http://r.example/a", "2"), ("R.example:5000", "3")]);
        assert_eq!(logins.places().collect::<Vec<_>>(), ["r.example/a", "r.example:5000"]);
        assert_eq!(logins.0["r.example/a"].reveal_password(), "2");
    }

    #[test]
    fn a_former_login_stays_while_it_is_needed_and_a_new_one_takes_its_place() {
        let (now, former) =
            (logins(&[("a.example", "new")]), [("a.example", "old"), ("b.example", "b"), ("c.example", "c")]);
        let left = now.and_needed(&logins(&former), |place| place == "b.example");
        assert_eq!(left, logins(&[("a.example", "new"), ("b.example", "b")]));
    }

    #[test]
    fn a_login_pulls_what_lies_below_its_place() {
        for (place, image, pulled) in [
            ("r.example", "r.example/x:1", true),
            (
                "r.example/a",
                "R.example/a/x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                true,
            ),
            ("r.example/a", "r.example/ab/x", false),
            ("r.example", "r.example:5000/x", false),
            ("r.example:50", "r.example:5000/x", false),
            ("r.example", "redis", false),
            ("r.example", "no reference", false),
        ] {
            assert_eq!(pulls(place, image), pulled, "{place} {image}");
        }
    }
}
