//! No credential is told anywhere: not in a log at trace level, an answer, a metric, a readiness text or
//! a process argument. Looked for in every way in which a login is commonly written.

use std::fs;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::Stage;
use crate::registry::Login;

/// Every way in which a login is commonly written.
pub(super) fn spellings(login: &Login) -> Vec<String> {
    let Login { username, password } = login;
    let pair = format!("{username}:{password}");
    vec![
        password.clone(),
        STANDARD.encode(password),
        STANDARD.encode(&pair),
        URL_SAFE_NO_PAD.encode(password),
        URL_SAFE_NO_PAD.encode(&pair),
    ]
}

impl Stage {
    /// Looks for every credential of the stage wherever something is told.
    pub(super) async fn keeps_its_secrets(&self) -> Result<()> {
        let Self { drayage, algorithm, .. } = self;
        let mut places = Vec::new();
        let loud = drayage.syncer.log().contains(r#""level":"DEBUG""#);
        ensure!(loud, "the syncer has not logged what it asked");
        for service in [&drayage.api, &drayage.syncer, &drayage.webhook] {
            places.push(("a log".to_owned(), service.log()));
            for page in ["/metrics", "/readyz"] {
                places.push((page.to_owned(), service.admin(page).await?.1));
            }
            let arguments = fs::read(format!("/proc/{}/cmdline", service.id()))?;
            places.push(("arguments".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
        }
        let versions = drayage.get(&algorithm.path("/versions")).await?;
        for version in versions["results"].as_array().into_iter().flatten() {
            let hash = version["version_info"]["git_hash"].as_str().unwrap_or_default();
            let path = algorithm.path(&format!("/versions/{hash}/registry"));
            places.push((path.clone(), drayage.get(&path).await?.to_string()));
        }
        places.push(("/versions".to_owned(), versions.to_string()));
        for path in ["/v1/registries", &algorithm.path("/builds")] {
            places.push((path.to_owned(), drayage.get(path).await?.to_string()));
        }
        are_not_told(&self.known_secrets(), &places)
    }
}

fn are_not_told(secrets: &[String], places: &[(String, String)]) -> Result<()> {
    for secret in secrets {
        for (place, text) in places {
            let line = text.lines().find(|line| line.contains(secret));
            ensure!(line.is_none(), "{place} tells {secret}: {}", line.unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_however_it_is_written() {
        let login = Login { username: "ada".into(), password: "of?one~test>".into() };
        let told = ["of?one~test>", "b2Y/b25lfnRlc3Q+", "b2Y_b25lfnRlc3Q-", "Basic YWRhOm9mP29uZX50ZXN0Pg=="];
        for told in told {
            let places = [("a log".to_owned(), format!("first\nsecond {told}\nthird"))];
            let found = are_not_told(&spellings(&login), &places).expect_err(told).to_string();
            assert!(
                found.starts_with("a log tells") && found.ends_with(&format!("second {told}")),
                "{found}"
            );
        }
        let places = [("a log".to_owned(), "somebody is called ada".to_owned())];
        are_not_told(&spellings(&login), &places).expect("a user's name is no secret");
    }
}
