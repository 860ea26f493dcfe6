//! From where one image is pulled, and the one sentence that says why: a warning, an audit annotation and
//! the api's explanation are all this sentence. The patch that follows from it is made in `patch`.

use std::fmt;

use domain::fact::Revision;
use domain::reference::Reference;
use domain::registry::RegistryId;

use crate::table::{Found, Latest, Registry, Table};

/// What is decided about one image that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Neither a source image nor a known destination: none of our business.
    Foreign,
    /// It already names where a route lies.
    Destination {
        /// The registry there.
        registry: RegistryName,
    },
    /// A source image that is pulled from the registry of its latest successful push.
    Routed(Routed),
    /// A source image without a route.
    Unrouted(NoRoute),
}

/// Why a source image has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// The ledger does not hold the tag or digest that was asked for.
    NeverCompiled,
    /// No push of it has succeeded.
    NeverPushed,
    /// Every registry that it was pushed to has been deleted.
    RegistriesDeleted,
}

/// A source image and where it is pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The reference to pull instead.
    pub to: String,
    /// The registry of the push that decided.
    pub registry: RegistryName,
    /// Names that push for machines: registry id, repository below the registry's path and tag, revision.
    pub push: String,
    /// When it succeeded.
    pub succeeded: Revision,
    /// The newest image of the tag that was asked for has not been pushed, so an older one is pulled.
    pub behind: bool,
}

/// What people call a registry: its name and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryName {
    /// The id.
    pub id: RegistryId,
    /// The name, if it has one.
    pub name: Option<String>,
}

/// Room for what is usual in a reference: growing costs more than the writing.
const TEXT_ROOM: usize = 256;

impl Table {
    /// Decides about an image as a pod names it. What is no reference is none of our business: the
    /// kubelet refuses it.
    pub fn decide(&self, image: &str) -> Decision {
        let Ok(reference) = Reference::parse(image) else { return Decision::Foreign };
        match self.find(&reference) {
            Found::Nothing => Decision::Foreign,
            Found::Destination(registry) => Decision::Destination { registry: registry.into() },
            Found::Source { latest: Err(lack), .. } => Decision::Unrouted(lack),
            Found::Source { latest: Ok(latest), repository, behind } => {
                Decision::Routed(routed(&reference, repository, latest, behind))
            }
        }
    }
}

fn routed(reference: &Reference<'_>, repository: &str, latest: Latest<'_>, behind: bool) -> Routed {
    let Latest { registry, address, tag, succeeded } = latest;
    let mut to = String::with_capacity(TEXT_ROOM);
    to.push_str(address.host().as_str());
    to.extend(address.path().into_iter().flat_map(|path| ["/", path.as_str()]));
    to.extend(["/", repository]);
    match reference.digest() {
        Some(digest) => to.extend(["@", digest]),
        None => to.extend([":", &tag]),
    }
    let push = format!("{} {repository}:{tag} {succeeded}", registry.id);
    Routed { to, registry: registry.into(), push, succeeded, behind }
}

impl Decision {
    /// The sentence about the image that was asked for, without a full stop.
    pub fn sentence(&self, asked: &str) -> String {
        match self {
            Self::Foreign => {
                format!("{asked} is not of the source registry, or of an algorithm that was never compiled")
            }
            Self::Destination { registry } => format!("{asked} already names {registry}"),
            Self::Routed(routed) => {
                let Routed { to, registry, succeeded, .. } = routed;
                let behind =
                    if routed.behind { "; the newest image of this tag is not pushed yet" } else { "" };
                format!(
                    "{asked} is pulled as {to}, as last pushed to {registry} at revision {succeeded}{behind}"
                )
            }
            Self::Unrouted(NoRoute::NeverCompiled) => {
                format!("{asked} is in a source repository, but was never compiled under this name")
            }
            Self::Unrouted(NoRoute::NeverPushed) => {
                format!("{asked} was compiled, but no push of it has succeeded yet")
            }
            Self::Unrouted(NoRoute::RegistriesDeleted) => {
                format!("{asked} was pushed only to registries that have been deleted since")
            }
        }
    }
}

impl From<Registry<'_>> for RegistryName {
    fn from(registry: Registry<'_>) -> Self {
        Self { id: registry.id, name: registry.name.map(str::to_owned) }
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "registry {name} ({})", self.id),
            None => write!(f, "registry {}", self.id),
        }
    }
}
