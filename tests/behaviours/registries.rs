//! Rows A1 to A3: registering, listing, changing and removing a registry, and who may.

use anyhow::{Context, Result, ensure};
use harness::claim::prove;
use harness::image::Image;
use harness::registry::{Login, Registry};
use harness::scene::{COMMIT, Scene};
use harness::services::{Answer, Drayage};
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/registries";

fn ensure_refused(answer: &Answer, status: u16, named: &str) -> Result<()> {
    let error = &answer.expect(status)?["error"];
    ensure!(error["id"].is_string() && error["code"].is_number(), "{}", answer.text);
    let message = error["message"].as_str().context("a message")?;
    ensure!(message.contains(named), "{message:?} does not name {named}");
    Ok(())
}

#[test]
fn registration_answers_what_was_registered_but_never_the_login() {
    prove(async {
        let source = Registry::open().await?;
        let drayage = Drayage::over(&source).start().await?;
        let body = json!({
            "name": "jfrog", "registry_url": "algorithmiainfra.jfrog.io/dockerhub",
            "registry_username": "username-of-a1", "registry_password": "password-of-a1",
        });
        let key = &drayage.admin_key;
        let made = drayage.call(Method::POST, PATH, key, Some(&body)).await?;
        let registry = made.expect(200)?;
        let id = registry["id"].as_str().context("an id")?;
        ensure!(id.len() == 36, "{id} is no uuid");
        ensure!(registry["name"] == "jfrog", "{registry}");
        ensure!(registry["registry_url"] == "algorithmiainfra.jfrog.io/dockerhub", "{registry}");
        let created = registry["created_at"].as_str().context("a moment")?;
        ensure!(created.len() == "2021-10-05T18:22:03.123Z".len() && created.ends_with('Z'), "{created}");

        let one = drayage.call(Method::GET, &format!("{PATH}/{id}"), key, None).await?;
        let all = drayage.call(Method::GET, PATH, key, None).await?;
        let again = drayage.call(Method::PUT, &format!("{PATH}/{id}"), key, Some(&body)).await?;
        ensure!(all.json() == json!([one.json()]), "{}", all.text);
        for answer in [made, one, all, again] {
            answer.expect(200)?;
            ensure!(!answer.text.contains("-of-a1"), "{}", answer.text);
        }
        Ok(())
    });
}

#[test]
fn registries_are_the_administrators_and_a_mistake_is_named() {
    prove(async {
        let source = Registry::open().await?;
        let drayage = Drayage::over(&source).start().await?;
        let standard = drayage.standard_key("ada").await?;
        let (admin, good) = (&drayage.admin_key, json!({"registry_url": "registry.example"}));
        let post = async |key: &str, body: &Value| drayage.call(Method::POST, PATH, key, Some(body)).await;

        post("sim0000000000000000000000000", &good).await?.expect(401)?;
        drayage.call(Method::GET, PATH, "", None).await?.expect(401)?;
        post(&standard, &good).await?.expect(403)?;
        drayage.call(Method::GET, PATH, &standard, None).await?.expect(200)?;

        let mistakes = [
            ("registry_url", json!({})),
            ("registry_url", json!({"registry_url": ""})),
            ("registry_url", json!({"registry_url": 5})),
            ("registry_url", json!({"registry_url": format!("registry.example/{}", "a".repeat(128))})),
            ("registry_url", json!({"registry_url": "ftp://registry.example"})),
            ("name", json!({"registry_url": "registry.example", "name": "n".repeat(33)})),
            (
                "registry_username",
                json!({"registry_url": "r.example", "registry_username": "u".repeat(65),
                                         "registry_password": "p"}),
            ),
            (
                "registry_password",
                json!({"registry_url": "r.example", "registry_username": "u",
                                         "registry_password": "p".repeat(4097)}),
            ),
            ("registry_password", json!({"registry_url": "r.example", "registry_username": "u"})),
        ];
        for (field, body) in mistakes {
            let answer = post(admin, &body).await?;
            ensure_refused(&answer, 400, field).with_context(|| body.to_string())?;
        }
        ensure!(drayage.get(PATH).await? == json!([]), "a refused registry was recorded");
        for unknown in ["not-a-uuid", "5fe3a2c6-a1d2-48e9-8d0c-7f61b3a9e8d7"] {
            let path = format!("{PATH}/{unknown}");
            drayage.call(Method::GET, &path, admin, None).await?.expect(404)?;
            drayage.call(Method::DELETE, &path, admin, None).await?.expect(404)?;
        }
        Ok(())
    });
}

#[test]
fn changed_registry_serves_the_next_push_and_a_deleted_one_says_what_used_it() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, admin) = (&scene.drayage, &scene.drayage.admin_key);
        drayage.compile(&scene.algorithm, &scene.stored_push()).await?;
        drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;

        let login = Login::new("newcomer")?;
        let other = Registry::with_logins(vec![login.clone()]).await?;
        let path = format!("{PATH}/{}", scene.registry);
        let moved = json!({"registry_url": format!("{}/elsewhere", other.url())});
        let refused = drayage.call(Method::PUT, &path, admin, Some(&moved)).await?;
        ensure_refused(&refused, 400, "registry_password")
            .context("stored credentials must not follow to another host")?;
        let moved = json!({
            "registry_url": format!("{}/elsewhere", other.url()),
            "registry_username": login.username, "registry_password": login.password,
        });
        drayage.call(Method::PUT, &path, admin, Some(&moved)).await?.expect(200)?;

        let second = Image::small()?;
        scene.source.push(&second, &scene.algorithm.repository(), "b2").await?;
        let body = json!({"commitSha": "b2", "registry_push_credentials": {"registry_id": scene.registry}});
        let hash = drayage.compile(&scene.algorithm, &body).await?;
        drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        let repository = format!("elsewhere/{}", scene.algorithm.repository());
        other.holds(&second, &repository, &hash).await?;
        ensure!(scene.enterprise.manifest(&scene.repository(), &hash).await?.is_none());

        let in_use = drayage.call(Method::DELETE, &format!("{path}?if_unused=true"), admin, None).await?;
        in_use.expect(409)?;
        let deleted = drayage.call(Method::DELETE, &path, admin, None).await?.expect(200)?;
        ensure!(deleted["dependents"]["versions"] == 2, "two versions were pushed there: {deleted}");
        ensure!(drayage.get(PATH).await? == json!([]));
        drayage.call(Method::GET, &path, admin, None).await?.expect(404)?;
        Ok(())
    });
}
