//! What a registry was asked, by whom, read from its own log.

use std::collections::HashMap;

use super::Registry;

/// One request that a registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The user who made it; empty without one.
    pub user: String,
    /// The program that it was made with, as it calls itself.
    pub agent: String,
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
        let log = self.log();
        let authorized: HashMap<_, _> = log.lines().filter_map(authorized).collect();
        log.lines().filter_map(|line| request(line, &authorized)).collect()
    }
}

/// The id of a request and its user, who is named by lines that are written while it is served.
fn authorized(line: &str) -> Option<(String, String)> {
    Some((field(line, "http.request.id")?, field(line, "auth.user.name")?))
}

fn request(line: &str, authorized: &HashMap<String, String>) -> Option<Request> {
    if !line.contains("msg=\"response completed") {
        return None;
    }
    Some(Request {
        user: authorized.get(&field(line, "http.request.id")?).cloned().unwrap_or_default(),
        agent: field(line, "http.request.useragent").unwrap_or_default(),
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
