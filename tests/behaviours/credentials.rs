//! Credentials are found nowhere in the clear: not in a reply, a log, a metric, a process
//! argument or the database, while they are stored and after they have served.

use std::fs;

use anyhow::{Result, ensure};
use base64::Engine;
use harness::claim::prove;
use harness::registry::Login;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::json;

/// Every way in which a login is commonly written.
fn spellings(login: &Login) -> Vec<String> {
    let Login { username, password } = login;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    vec![password.clone(), pair, base64::engine::general_purpose::STANDARD.encode(password)]
}

#[test]
fn credentials_are_found_nowhere_in_the_clear() {
    prove(async {
        let loud = ["--log", "trace"];
        let scene = Scene::start_with(|drayage| drayage.api(&loud).syncer(&loud).webhook(&loud)).await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        let hash = drayage.compile(algorithm, &scene.own_push()).await?;
        drayage.pushed(algorithm, &hash, &scene.registry).await?;
        let mut body = scene.own_push()["registry_push_credentials"].clone();
        let wrong = Login::new("pusher")?;
        body["registry_password"] = wrong.password.clone().into();
        let path = algorithm.path(&format!("/versions/{COMMIT}/registry"));
        drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?.expect(204)?;
        drayage.ended(algorithm, &hash, &scene.registry).await?;
        let in_url = json!({"registry_url": format!("http://u:{}@registry.example", wrong.password)});
        let refused = drayage.call(Method::POST, "/v1/registries", &drayage.admin_key, Some(&in_url)).await?;
        refused.expect(400)?;

        let mut places = vec![("an answer".to_owned(), refused.text), ("a log".to_owned(), drayage.log())];
        for path in ["/v1/registries", &algorithm.path(""), &algorithm.path("/builds"), &path] {
            places.push((path.to_owned(), drayage.get(path).await?.to_string()));
        }
        for service in [&drayage.api, &drayage.syncer, &drayage.webhook] {
            for page in ["/metrics", "/readyz"] {
                places.push((page.to_owned(), service.admin(page).await?.1));
            }
            let arguments = fs::read(format!("/proc/{}/cmdline", service.id()))?;
            places.push(("arguments".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
        }
        for file in ["drayage.db", "drayage.db-wal"] {
            let bytes = fs::read(drayage.file(file))?;
            places.push((file.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        let keys = [drayage.admin_key.clone(), algorithm.key.clone()].to_vec();
        let logins = [&scene.reader, &scene.pusher, &wrong].into_iter().flat_map(spellings);
        for secret in logins.chain(keys) {
            for (place, text) in &places {
                ensure!(!text.contains(&secret), "{place} holds {secret}");
            }
        }
        Ok(()) as Result<()>
    });
}
