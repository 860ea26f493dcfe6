//! What single registries do their own way, as data: the one place that names them.

use domain::reference::{DOCKER_HUB, Host};

/// The host that speaks the API for the host that references name.
pub(crate) fn api_host(host: &Host) -> &str {
    match host.as_str() {
        DOCKER_HUB => "registry-1.docker.io",
        host => host,
    }
}

/// Names under which Docker's config.json may know the host.
pub(crate) fn login_names(host: &Host) -> &[&'static str] {
    match host.as_str() {
        DOCKER_HUB => &["docker.io", "index.docker.io", "registry-1.docker.io"],
        _ => &[],
    }
}
