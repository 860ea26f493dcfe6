//! Names that Drayage uses in the cluster; manifests and scripts outside rely on every one.

/// The annotation of a routed pod: compact JSON, container name or `volume/NAME` → the image it asked for.
pub const ROUTED_ANNOTATION: &str = "drayage.dev/routed";

/// The annotation by which the kubelet marks a mirror (static) pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The label, and its value, by which a namespace takes part.
pub const TAKES_PART: (&str, &str) = ("drayage.dev/runners", "enabled");

/// The Secret from which nodes take the logins to registries, one a namespace.
pub const PULL_SECRET: &str = "drayage-registries";

/// The label, and its value, of what Drayage made itself; the same without it is somebody else's.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "drayage");
