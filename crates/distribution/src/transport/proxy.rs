//! The proxies of the environment, read as the field's tools read them: HTTPS_PROXY, HTTP_PROXY and
//! ALL_PROXY (either case), except for what NO_PROXY names and, always, for this machine itself.
//! Behind a proxy names are resolved by the proxy, so what it may reach is the proxy's to decide.

use std::collections::HashSet;

use reqwest::{NoProxy, Proxy};
use url::Url;

/// What the environment says about proxies.
pub(super) struct Proxies {
    /// One for each scheme that is proxied.
    pub(super) all: Vec<Proxy>,
    /// The names of the proxies themselves, which the address guard lets through.
    pub(super) hosts: HashSet<String>,
}

impl Proxies {
    /// Reads them through `variable`, a look-up in the environment.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, reqwest::Error> {
        let first =
            |names: [&str; 2]| names.into_iter().filter_map(&variable).find(|value| !value.is_empty());
        let except = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let except = NoProxy::from_string(&format!("{except},localhost,127.0.0.0/8,::1"));
        let mut proxies = Self { all: Vec::new(), hosts: HashSet::new() };
        let all = first(["ALL_PROXY", "all_proxy"]);
        let https = first(["HTTPS_PROXY", "https_proxy"]).or_else(|| all.clone());
        let http = first(["HTTP_PROXY", "http_proxy"]).or(all);
        let made = [https.map(|url| (Proxy::https(&url), url)), http.map(|url| (Proxy::http(&url), url))];
        for (proxy, url) in made.into_iter().flatten() {
            proxies.all.push(proxy?.no_proxy(except.clone()));
            let url = if url.contains("://") { url } else { format!("http://{url}") };
            proxies.hosts.extend(Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)));
        }
        Ok(proxies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Proxies {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::read(variable).expect("legal")
    }

    #[test]
    fn nothing_is_proxied_unless_the_environment_says_so() {
        assert!(read(&[("NO_PROXY", "x.example"), ("HTTPS_PROXY", "")]).all.is_empty());
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_fills_the_gaps() {
        let proxies = read(&[("https_proxy", "proxy.example:3128"), ("ALL_PROXY", "http://other.example")]);
        assert_eq!(proxies.all.len(), 2);
        assert_eq!(proxies.hosts, HashSet::from(["proxy.example".to_owned(), "other.example".to_owned()]));
    }
}
