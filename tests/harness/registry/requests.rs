//! What a registry was asked, by whom, read from its own log.

use super::Registry;

/// One request that a registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The user who made it; empty without one.
    pub user: String,
    /// Its method.
    pub method: String,
    /// Its path with the query.
    pub uri: String,
    /// The status of the answer.
    pub status: u16,
}

impl Registry {
    /// Every request that was answered, in their order.
    pub fn requests(&self) -> Vec<Request> {
        self.log().lines().filter_map(request).collect()
    }
}

fn request(line: &str) -> Option<Request> {
    if !line.contains("msg=\"response completed") {
        return None;
    }
    Some(Request {
        user: field(line, "auth.user.name").unwrap_or_default(),
        method: field(line, "http.request.method")?,
        uri: field(line, "http.request.uri")?,
        status: field(line, "http.response.status")?.parse().ok()?,
    })
}

/// The value of a field of a logfmt line, where it holds no space.
fn field(line: &str, name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    let value = line.split(' ').find_map(|pair| pair.strip_prefix(&prefix))?;
    Some(value.trim_matches('"').to_owned())
}
