//! What depends on a registry: told when it is deleted, and what keeps it from being deleted if it may be
//! only when nobody needs it.

use domain::algorithm::{AlgorithmName, Username};
use domain::version::VersionHash;

use crate::pods::{Audit, PodsOn};

/// What depends on a registry.
#[derive(Clone, Debug)]
pub struct Dependents {
    /// Versions that are pulled from it: no registry that exists has a later success of their image.
    /// Those of deleted algorithms, which nobody can push any more, are not counted.
    pub versions: u64,
    /// The first few of them, by algorithm.
    pub first_versions: Vec<DependentVersion>,
    /// Pushes to it that wait.
    pub pushes_pending: u64,
    /// Pushes to it that run.
    pub pushes_running: u64,
    /// Running pods that name it, as an auditor last saw them.
    pub pods: Audit<PodsOn>,
}

impl Dependents {
    /// Whether nothing depends on it, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.versions + self.pushes_pending + self.pushes_running + self.pods.found.count == 0
    }
}

/// A version that depends on a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependentVersion {
    /// Whose.
    pub owner: Username,
    /// The algorithm's name.
    pub algorithm: AlgorithmName,
    /// The version.
    pub hash: VersionHash,
}
