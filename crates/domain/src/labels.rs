//! Names that Drayage uses in the cluster; manifests and scripts outside rely on every one.

/// The annotation of a routed pod: compact JSON, container name or `volume/NAME` → the image it asked for.
pub const ROUTED_ANNOTATION: &str = "drayage.dev/routed";

/// The annotation by which the kubelet marks a mirror (static) pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
