//! What an audit finds of a running pod: whether each known image runs from where its route says. The
//! syncer's auditor judges, the store keeps it, the api shows it.

use std::fmt;
use std::str::FromStr;

/// How a pod runs, or one image of it; of a pod's images the greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodState {
    /// From where the route says, or from a destination that was named by hand.
    Routed,
    /// A source image without a route.
    Unrouted,
    /// From elsewhere, although there is a route.
    Stray,
}

impl PodState {
    /// The public word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Unrouted => "unrouted",
            Self::Stray => "stray",
        }
    }
}

impl fmt::Display for PodState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PodState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Routed, Self::Unrouted, Self::Stray]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("it is routed, unrouted or stray")
    }
}
