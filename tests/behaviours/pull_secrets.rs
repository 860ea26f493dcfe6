//! The pull Secrets on a real API server, kept by a syncer with the rights that the manifests give and no
//! others: there, right, and gone when they should be, and nobody else's touched.

mod many;
mod node;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::registry::Login;
use harness::scene::Scene;
use reqwest::Method;
use serde_json::{Value, json};

const NAME: &str = "drayage-registries";
const RUNNERS: &str = "runners";
const LABEL: &str = "drayage.dev/runners=enabled";
/// Two seconds are promised; a machine that runs other tests at the same time gets more.
const WITHIN: Duration = Duration::from_secs(5);

/// A control plane with the syncer's rights, and the kubeconfig of its ServiceAccount.
async fn rights() -> Result<(Cluster, PathBuf)> {
    let cluster = Cluster::start().await?;
    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/default");
    cluster.kubectl(&["apply", "-k", overlay]).await?;
    // Nobody answers for it here.
    cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "drayage"]).await?;
    let token = cluster.kubectl(&["create", "token", "-n", "drayage", "drayage"]).await?;
    let admin = fs::read_to_string(cluster.kubeconfig())?;
    let own = admin.replace("token: admin", &format!("token: {}", token.trim()));
    ensure!(own.contains(token.trim()), "{admin}");
    let path = cluster.kubeconfig().with_file_name("syncer.kubeconfig");
    fs::write(&path, own)?;
    Ok((cluster, path))
}

/// The same, and a scene whose syncer keeps the pull Secrets of a namespace.
async fn stage() -> Result<(Cluster, Scene)> {
    let (cluster, kubeconfig) = rights().await?;
    let kubernetes = format!("kubeconfig:{}", kubeconfig.display());
    let scene = Scene::start_with(|drayage| drayage.syncer(&["--kubernetes", &kubernetes])).await?;
    cluster.namespace(RUNNERS).await?;
    Ok((cluster, scene))
}

async fn secret(cluster: &Cluster, namespace: &str) -> Result<Value> {
    cluster.get(&["get", "secret", "-n", namespace, NAME]).await
}

/// The logins that a Secret holds: registry, username and password.
fn logins(secret: &Value) -> Result<Vec<(String, String, String)>> {
    let json = BASE64.decode(secret["data"][".dockerconfigjson"].as_str().context("no config")?)?;
    let config: Value = serde_json::from_slice(&json)?;
    let auths = config["auths"].as_object().context("no auths")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    auths
        .iter()
        .map(|(place, entry)| {
            let (username, password) = (text(&entry["username"]), text(&entry["password"]));
            let auth = BASE64.encode(format!("{username}:{password}"));
            ensure!(entry["auth"] == auth.as_str(), "another auth");
            Ok((place.clone(), username, password))
        })
        .collect()
}

/// Waits until a namespace has its Secret with the logins of exactly these places, and gives it.
async fn holds(
    cluster: &Cluster,
    scene: &Scene,
    namespace: &str,
    entries: &[(&str, &Login)],
) -> Result<Value> {
    let start = Instant::now();
    let found = eventually("the logins", async || {
        let secret = secret(cluster, namespace).await?;
        let found = logins(&secret)?;
        let mut expected: Vec<_> = entries
            .iter()
            .map(|(place, login)| ((*place).to_owned(), login.username.clone(), login.password.clone()))
            .collect();
        expected.sort();
        ensure!(found == expected, "{found:?} instead of {expected:?}");
        Ok(secret)
    });
    let found = found.await.with_context(|| scene.drayage.syncer.log())?;
    ensure!(start.elapsed() < WITHIN, "it took {:?}", start.elapsed());
    Ok(found)
}

async fn gone(cluster: &Cluster, namespace: &str) -> Result<()> {
    let start = Instant::now();
    eventually("it to go", async || {
        let left = cluster.kubectl(&["get", "secrets", "-n", namespace, "-o", "name"]).await?;
        ensure!(!left.contains(NAME), "{left}");
        Ok(())
    })
    .await?;
    ensure!(start.elapsed() < WITHIN, "it took {:?}", start.elapsed());
    Ok(())
}

/// Where the scene's registry is, as a Docker config names it.
fn place(scene: &Scene) -> String {
    format!("{}/inspected", scene.enterprise.host())
}

async fn replace(scene: &Scene, registry: &str, url: &str, login: &Login) -> Result<()> {
    let body = json!({
        "registry_url": url, "registry_username": login.username, "registry_password": login.password,
    });
    let path = format!("/v1/registries/{registry}");
    scene.drayage.call(Method::PUT, &path, &scene.drayage.admin_key, Some(&body)).await?.expect(200)?;
    Ok(())
}

async fn remove(scene: &Scene, registry: &str) -> Result<()> {
    let path = format!("/v1/registries/{registry}");
    scene.drayage.call(Method::DELETE, &path, &scene.drayage.admin_key, None).await?.expect(200)?;
    Ok(())
}

#[test]
fn every_namespace_that_takes_part_has_one_secret_that_follows_the_registries() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let (place, reader) = (place(&scene), &scene.reader);
        let secret = holds(&cluster, &scene, RUNNERS, &[(&place, reader)]).await?;
        ensure!(secret["type"] == "kubernetes.io/dockerconfigjson", "{}", secret["type"]);
        let labels = &secret["metadata"]["labels"];
        ensure!(*labels == json!({"app.kubernetes.io/managed-by": "drayage"}), "{labels}");

        let odd =
            Login { username: "robot$ä".to_owned(), password: "q\"uo\\te: pässwörd \u{1F6A2}".to_owned() };
        let second = scene.drayage.register("https://Second.example:8443", Some(&odd)).await?;
        scene.drayage.register("open.example", None).await?;
        let both = [(place.as_str(), reader), ("second.example:8443", &odd)];
        holds(&cluster, &scene, RUNNERS, &both).await?;
        let another = Login::new("another")?;
        replace(&scene, &second, "second.example:8443/below/path", &another).await?;
        let both = [(place.as_str(), reader), ("second.example:8443/below/path", &another)];
        holds(&cluster, &scene, RUNNERS, &both).await?;

        cluster.namespace("late").await?;
        holds(&cluster, &scene, "late", &both).await?;
        remove(&scene, &second).await?;
        for namespace in [RUNNERS, "late"] {
            holds(&cluster, &scene, namespace, &both[..1]).await?;
        }
        cluster.kubectl(&["label", "namespace", "late", "drayage.dev/runners-"]).await?;
        gone(&cluster, "late").await?;
        let log = scene.drayage.log();
        ensure!(![reader, &odd, &another].iter().any(|login| log.contains(&login.password)), "{log}");
        ensure!(scene.drayage.syncer.admin("/readyz").await? == (200, "ok".to_owned()));
        Ok(())
    });
}

#[test]
fn whatever_is_done_to_a_pull_secret_is_put_right_by_two_syncers_that_keep_it() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let (place, reader) = (place(&scene), &scene.reader);
        let other = scene.drayage.syncer.beside().await?;
        other.ready().await?;
        let right = [(place.as_str(), reader)];
        holds(&cluster, &scene, RUNNERS, &right).await?;
        let nothing = BASE64.encode(r#"{"auths":{}}"#);
        for patch in [
            json!({"data": {".dockerconfigjson": nothing}}),
            json!({"data": {".dockerconfigjson": nothing}, "immutable": true}),
        ] {
            let patch = patch.to_string();
            cluster.kubectl(&["patch", "secret", "-n", RUNNERS, NAME, "-p", &patch]).await?;
            holds(&cluster, &scene, RUNNERS, &right).await?;
        }
        cluster.kubectl(&["delete", "secret", "-n", RUNNERS, NAME]).await?;
        holds(&cluster, &scene, RUNNERS, &right).await?;
        let log = scene.drayage.syncer.log() + &other.log();
        ensure!(!log.contains("not as they should be"), "{log}");
        Ok(())
    });
}

#[test]
fn secret_of_that_name_that_is_somebody_elses_is_left_alone_and_told() {
    prove(async {
        let (cluster, scene) = stage().await?;
        cluster.kubectl(&["create", "namespace", "theirs"]).await?;
        let literal = ["create", "secret", "generic", "-n", "theirs", NAME, "--from-literal=a=b"];
        cluster.kubectl(&literal).await?;
        let theirs = secret(&cluster, "theirs").await?;
        cluster.kubectl(&["label", "namespace", "theirs", LABEL]).await?;
        eventually("the note", async || {
            let (status, text) = scene.drayage.syncer.admin("/readyz").await?;
            ensure!(status == 200 && text.contains("theirs: the Secret drayage-registries"), "{text}");
            Ok(())
        })
        .await?;
        let log = scene.drayage.syncer.log();
        ensure!(log.matches("somebody else's").count() == 1, "{log}");
        holds(&cluster, &scene, RUNNERS, &[(&place(&scene), &scene.reader)]).await?;
        ensure!(secret(&cluster, "theirs").await? == theirs, "it was touched");
        cluster.kubectl(&["delete", "secret", "-n", "theirs", NAME]).await?;
        holds(&cluster, &scene, "theirs", &[(&place(&scene), &scene.reader)]).await?;
        eventually("the end of the note", async || {
            ensure!(scene.drayage.syncer.admin("/readyz").await?.1 == "ok");
            Ok(())
        })
        .await
    });
}

#[test]
fn login_of_a_registry_that_has_gone_stays_while_a_pod_needs_it() {
    prove(async {
        let (cluster, scene) = stage().await?;
        cluster.namespace("idle").await?;
        let (place, reader, old) = (place(&scene), &scene.reader, Login::new("old")?);
        let retired = scene.drayage.register("retired.example/x", Some(&old)).await?;
        let mut pod = scene.pod(RUNNERS, "");
        pod["spec"]["containers"][0]["image"] = "retired.example/x/ada/primes:1".into();
        pod["spec"]["imagePullSecrets"] = json!([{"name": NAME}]);
        cluster.create(&pod).await?;
        let both = [(place.as_str(), reader), ("retired.example/x", &old)];
        for namespace in [RUNNERS, "idle"] {
            holds(&cluster, &scene, namespace, &both).await?;
        }
        remove(&scene, &retired).await?;
        holds(&cluster, &scene, "idle", &both[..1]).await?;
        // What comes later leaves it in its place too.
        let new = Login::new("new")?;
        scene.drayage.register("new.example", Some(&new)).await?;
        let three = [("new.example", &new), both[0], both[1]];
        holds(&cluster, &scene, RUNNERS, &three).await?;
        cluster.kubectl(&["delete", "pod", "-n", RUNNERS, "runner", "--grace-period=0", "--force"]).await?;
        holds(&cluster, &scene, RUNNERS, &three[..2]).await?;
        Ok(())
    });
}

#[test]
fn syncer_that_was_away_catches_up() {
    prove(async {
        let (cluster, mut scene) = stage().await?;
        let (place, reader) = (place(&scene), scene.reader.clone());
        cluster.namespace("leaves").await?;
        for namespace in [RUNNERS, "leaves"] {
            holds(&cluster, &scene, namespace, &[(&place, &reader)]).await?;
        }
        scene.drayage.syncer.kill()?;
        cluster.kubectl(&["label", "namespace", "leaves", "drayage.dev/runners-"]).await?;
        cluster.namespace("joins").await?;
        let second = Login::new("second")?;
        scene.drayage.register("second.example", Some(&second)).await?;
        scene.drayage.syncer.restart().await?;
        for namespace in [RUNNERS, "joins"] {
            holds(&cluster, &scene, namespace, &[(&place, &reader), ("second.example", &second)]).await?;
        }
        gone(&cluster, "leaves").await
    });
}

#[test]
fn syncer_may_make_no_other_secret_and_read_none() {
    prove(async {
        let (cluster, _) = rights().await?;
        cluster.namespace(RUNNERS).await?;
        let may = async |what: &[&str]| {
            let asked = ["auth", "can-i", "--as", "system:serviceaccount:drayage:drayage"];
            cluster.kubectl(&[&asked[..], what].concat()).await.is_ok()
        };
        let ours = format!("secrets/{NAME}");
        for verb in ["create", "patch", "delete", "watch"] {
            ensure!(may(&[verb, &ours, "-n", RUNNERS]).await, "it may not {verb} {ours}");
        }
        for (verb, what) in [
            ("create", "secrets"),
            ("list", "secrets"),
            ("watch", "secrets"),
            ("get", "secrets"),
            ("get", ours.as_str()),
            ("get", "secrets/another"),
            ("patch", "secrets/another"),
            ("delete", "secrets/another"),
            ("create", "pods"),
            ("patch", "pods"),
            ("delete", "pods"),
            ("get", "configmaps"),
            ("patch", "namespaces"),
        ] {
            ensure!(!may(&[verb, what, "-n", RUNNERS]).await, "it may {verb} {what}");
        }
        Ok(())
    });
}
