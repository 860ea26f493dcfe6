//! What is to be done about certificates, as pure functions over what is stored and the time: whether an
//! authority or a leaf is due, which authorities are trusted. `certificates` carries it out.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::material::{Authorities, Authority, Flaw, Leaf};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// Of an authority.
    pub authority: Duration,
    /// Of a leaf.
    pub leaf: Duration,
    /// From when an authority is seen in `caBundle` until every API server has surely heard of it.
    pub settling: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Lives {
    fn default() -> Self {
        Self { authority: DAY * 5 * 365, leaf: DAY * 30, settling: Duration::from_secs(10 * 60) }
    }
}

/// Why something is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// Two thirds of its life have passed.
    Due,
    /// A newer authority issues now.
    NewAuthority,
    /// What is there cannot be used.
    Flaw(Flaw),
    /// It has expired, for nobody was there to renew it.
    Expired,
    /// It is for other names.
    OtherNames,
    /// No authority of ours has issued it.
    Stranger,
}

impl Because {
    /// Whether this is how things go.
    pub(super) fn is_planned(self) -> bool {
        matches!(self, Self::Due | Self::NewAuthority | Self::Flaw(Flaw::Missing))
    }
}

impl fmt::Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due => formatter.write_str("has two thirds of its life behind it"),
            Self::NewAuthority => formatter.write_str("is of a former authority"),
            Self::Flaw(flaw) => flaw.fmt(formatter),
            Self::Expired => formatter.write_str("has expired"),
            Self::OtherNames => formatter.write_str("is for other names"),
            Self::Stranger => formatter.write_str("is of an authority that is not ours"),
        }
    }
}

/// Whether there is to be a new authority.
pub(super) fn new_authority(
    stored: &Result<Authorities, Flaw>,
    now: SystemTime,
    lives: &Lives,
) -> Option<Because> {
    match stored {
        Err(flaw) => Some(Because::Flaw(*flaw)),
        Ok(stored) => stored.newest().and_then(|newest| too_old(newest.expires, now, lives.authority)),
    }
}

/// Of these former authorities, those of which a leaf may still be served.
///
/// The key of one is gone with its successor, so its last leaf is no younger than the successor.
pub(super) fn still_trusted(
    former: &[Authority],
    successor: SystemTime,
    now: SystemTime,
    lives: &Lives,
) -> Vec<Authority> {
    let served = now <= successor + lives.leaf;
    former.iter().filter(|authority| served && now < authority.expires).cloned().collect()
}

/// What `caBundle` must be: the issuing authority, and the former ones.
pub(super) fn trusted(stored: &Authorities, now: SystemTime, lives: &Lives) -> Vec<Authority> {
    let Some((newest, former)) = stored.certificates.split_first() else { return Vec::new() };
    let born = newest.expires - lives.authority;
    [vec![newest.clone()], still_trusted(former, born, now, lives)].concat()
}

/// What is to become of the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is served.
    Serve,
    /// A new one is issued.
    Issue(Because),
    /// It would be issued, but the API servers do not trust the authority yet.
    Await(Because),
}

/// What is to become of a leaf, whose authority is in `caBundle` since a time, if it is there at all.
pub(super) fn next_leaf(
    stored: &Result<Leaf, Flaw>,
    authorities: &Authorities,
    names: &[String],
    trusted_since: Option<SystemTime>,
    now: SystemTime,
    lives: &Lives,
) -> Next {
    let trusted = trusted(authorities, now, lives);
    let issuer = |leaf: &Leaf| trusted.iter().position(|authority| authority.issued(leaf));
    let useless = |because| trusted_since.map_or(Next::Await(because), |_| Next::Issue(because));
    let leaf = match stored {
        Ok(leaf) => leaf,
        Err(flaw) => return useless(Because::Flaw(*flaw)),
    };
    let because = match (issuer(leaf), too_old(leaf.expires, now, lives.leaf)) {
        (None, _) => return useless(Because::Stranger),
        (_, Some(Because::Expired)) => return useless(Because::Expired),
        _ if names.iter().any(|name| !leaf.names.contains(name)) => return useless(Because::OtherNames),
        (Some(0), Some(due)) => due,
        (Some(0), None) => return Next::Serve,
        (Some(_), _) => Because::NewAuthority,
    };
    // It does until then, and a leaf that not all trust would be worse.
    match trusted_since {
        Some(since) if now >= since + lives.settling => Next::Issue(because),
        _ => Next::Serve,
    }
}

fn too_old(expires: SystemTime, now: SystemTime, life: Duration) -> Option<Because> {
    match expires.duration_since(now) {
        Ok(left) if left > life / 3 => None,
        Ok(left) if left > Duration::ZERO => Some(Because::Due),
        _ => Some(Because::Expired),
    }
}

#[cfg(test)]
mod tests;
