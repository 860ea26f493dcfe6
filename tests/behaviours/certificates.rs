//! The certificates that the webhook keeps, against a real API server that trusts nobody else: made,
//! agreed on, renewed and healed, with the rights that the manifests give and no others.

mod rotation;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::scene::{COMMIT, Scene};
use serde_json::{Value, json};

const AUTHORITY: &str = "drayage-authority";
pub(crate) const LEAF: &str = "drayage-tls";
/// What a watch tells; a look alone would take half a minute.
pub(crate) const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// An overlay on a control plane, where nobody runs anything.
pub(crate) async fn applied(overlay: &str) -> Result<Cluster> {
    let cluster = Cluster::start().await?;
    let overlays = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays");
    cluster.kubectl(&["apply", "-k", &format!("{overlays}/{overlay}")]).await?;
    cluster.namespace("runners").await?;
    Ok(cluster)
}

/// What a ServiceAccount of the manifests logs in with.
pub(crate) async fn kubeconfig_of(cluster: &Cluster, account: &str) -> Result<PathBuf> {
    let token = cluster.kubectl(&["create", "token", "-n", "drayage", account]).await?;
    let admin = fs::read_to_string(cluster.kubeconfig())?;
    let own = admin
        .replace("token: admin", &format!("token: {}", token.trim()))
        .replace("context: {", "context: {namespace: drayage, ");
    ensure!(own.contains(token.trim()), "{admin}");
    let path = cluster.kubeconfig().with_file_name(format!("{account}.kubeconfig"));
    fs::write(&path, own)?;
    Ok(path)
}

/// The default overlay on a control plane whose Service is this machine, and who the webhook is there.
async fn installed() -> Result<(Cluster, PathBuf)> {
    let cluster = applied("default").await?;
    cluster.kubectl(&["delete", "service", "-n", "drayage", "drayage-webhook"]).await?;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "drayage-webhook", "namespace": "drayage"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    cluster.create(&service).await?;
    let kubeconfig = kubeconfig_of(&cluster, "drayage-webhook").await?;
    Ok((cluster, kubeconfig))
}

/// Has the API server call the webhook at this port.
pub(crate) async fn called_at(cluster: &Cluster, port: u16) -> Result<()> {
    let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/service/port", "value": port}]);
    let patch = patch.to_string();
    let of = ["patch", "mutatingwebhookconfiguration", "drayage", "--type=json", "-p", &patch];
    cluster.kubectl(&of).await?;
    Ok(())
}

pub(crate) async fn secret(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.get(&["get", "secret", "-n", "drayage", name]).await
}

fn held(secret: &Value, key: &str) -> Result<String> {
    let bytes = BASE64.decode(secret["data"][key].as_str().with_context(|| format!("no {key}"))?)?;
    Ok(String::from_utf8(bytes)?)
}

async fn bundle(cluster: &Cluster) -> Result<String> {
    let found = cluster.get(&["get", "mutatingwebhookconfiguration", "drayage"]).await?;
    let bundle = found["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    Ok(String::from_utf8(BASE64.decode(bundle)?)?)
}

/// A scene whose version has been pushed, its webhook one that keeps its certificates.
pub(crate) async fn stage() -> Result<(Cluster, Scene)> {
    let (cluster, kubeconfig) = installed().await?;
    let mut scene = Scene::start().await?;
    scene.drayage.compile(&scene.algorithm, &scene.stored_push()).await?;
    scene.drayage.pushed(&scene.algorithm, COMMIT, &scene.registry).await?;
    scene.drayage.webhook = scene.drayage.webhook_in(&kubeconfig).await?;
    scene.drayage.webhook.ready().await?;
    called_at(&cluster, scene.drayage.webhook.port()?).await?;
    Ok((cluster, scene))
}

/// Whether a pod comes through, without being stored.
async fn admitted(cluster: &Cluster, scene: &Scene) -> Result<()> {
    let file = cluster.kubeconfig().with_file_name("pod.json");
    fs::write(&file, scene.pod("runners", &format!(":{COMMIT}")).to_string())?;
    let file = file.to_string_lossy();
    let pod = cluster.get(&["create", "--dry-run=server", "-f", &file]).await?;
    let routed = scene.routed(&format!(":{COMMIT}"));
    ensure!(pod["spec"]["containers"][0]["image"] == routed.as_str(), "{pod}");
    Ok(())
}

#[test]
fn webhook_makes_certificates_that_its_replicas_and_a_restart_keep() {
    prove(async {
        let (cluster, mut scene) = stage().await?;
        eventually("a pod", async || admitted(&cluster, &scene).await).await?;
        let (authority, leaf) = (secret(&cluster, AUTHORITY).await?, secret(&cluster, LEAF).await?);
        ensure!(bundle(&cluster).await? == held(&authority, "ca.crt")?, "another bundle: {authority}");
        ensure!(held(&leaf, "ca.crt")? == held(&authority, "ca.crt")?, "{leaf}");
        ensure!(leaf["type"] == "kubernetes.io/tls" && leaf["data"]["ca.key"].is_null(), "{leaf}");
        let (_, metrics) = scene.drayage.webhook.admin("/metrics").await?;
        let left = metrics.lines().find_map(|line| line.strip_prefix("drayage_certificate_expiry_seconds "));
        let left: f64 = left.context("the metric")?.parse()?;
        ensure!((29.9 * 86_400.0..=30.0 * 86_400.0).contains(&left), "{left}");

        let replica = scene.drayage.webhook.beside().await?;
        replica.ready().await?;
        called_at(&cluster, replica.port()?).await?;
        eventually("a pod through the replica", async || admitted(&cluster, &scene).await).await?;
        scene.drayage.webhook.restart().await?;
        scene.drayage.webhook.ready().await?;
        for (name, former) in [(AUTHORITY, &authority), (LEAF, &leaf)] {
            ensure!(secret(&cluster, name).await? == *former, "{name} was written again");
        }
        let log = scene.drayage.log() + &replica.log();
        ensure!(!log.contains("PRIVATE KEY") && !log.contains("Bearer"), "{log}");
        Ok(())
    });
}

#[test]
fn two_webhooks_that_start_at_once_agree_on_one_authority() {
    prove(async {
        let (cluster, kubeconfig) = installed().await?;
        let scene = Scene::start().await?;
        let started = || scene.drayage.webhook_in(&kubeconfig);
        let replicas = tokio::try_join!(started(), started(), started())?;
        for replica in [&replicas.0, &replicas.1, &replicas.2] {
            replica.ready().await?;
            called_at(&cluster, replica.port()?).await?;
            let pod = scene.pod("runners", ":unknown");
            let file = cluster.kubeconfig().with_file_name("pod.json");
            fs::write(&file, pod.to_string())?;
            let file = file.to_string_lossy();
            let create = ["create", "--dry-run=server", "-f", &file];
            eventually("a pod", async || cluster.kubectl(&create).await).await?;
        }
        let authority = held(&secret(&cluster, AUTHORITY).await?, "ca.crt")?;
        ensure!(authority.matches("BEGIN CERTIFICATE").count() == 1, "{authority}");
        ensure!(bundle(&cluster).await? == authority, "another bundle");
        Ok(())
    });
}

#[test]
fn damage_heals_by_itself() {
    prove(async {
        let (cluster, mut scene) = stage().await?;
        let rubbish = |key: &str| json!({"data": {key: BASE64.encode("rubbish")}}).to_string();
        let (no_leaf, no_authority, no_key) = (rubbish("tls.crt"), rubbish("ca.crt"), rubbish("ca.key"));
        let configuration = cluster.get(&["get", "mutatingwebhookconfiguration", "drayage"]).await?;
        let wiped = cluster.kubeconfig().with_file_name("configuration.json");
        let mut bare = configuration.clone();
        bare["metadata"] = json!({"name": "drayage"});
        bare["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
        bare["webhooks"][0]["clientConfig"]["service"]["port"] = scene.drayage.webhook.port()?.into();
        fs::write(&wiped, bare.to_string())?;
        let wiped = wiped.to_string_lossy();
        let damages: [&[&str]; 7] = [
            &["delete", "secret", "-n", "drayage", LEAF],
            &["delete", "secret", "-n", "drayage", AUTHORITY],
            &["delete", "secret", "-n", "drayage", LEAF, AUTHORITY],
            &["patch", "secret", "-n", "drayage", LEAF, "-p", &no_leaf],
            &["patch", "secret", "-n", "drayage", AUTHORITY, "-p", &no_authority],
            &["patch", "secret", "-n", "drayage", AUTHORITY, "-p", &no_key],
            &["replace", "-f", &wiped],
        ];
        // Both while the process runs and while it is off.
        for runs in [true, false] {
            for damage in damages {
                if !runs {
                    scene.drayage.webhook.kill()?;
                }
                cluster.kubectl(damage).await?;
                if !runs {
                    scene.drayage.webhook.restart().await?;
                    scene.drayage.webhook.ready().await?;
                    called_at(&cluster, scene.drayage.webhook.port()?).await?;
                }
                eventually("it to heal", async || {
                    let authority = secret(&cluster, AUTHORITY).await?;
                    let leaf = secret(&cluster, LEAF).await?;
                    ensure!(held(&leaf, "tls.crt")?.contains("BEGIN"), "{leaf}");
                    ensure!(held(&authority, "ca.key")?.contains("BEGIN"), "{authority}");
                    ensure!(bundle(&cluster).await? == held(&authority, "ca.crt")?, "{authority}");
                    admitted(&cluster, &scene).await
                })
                .await
                .with_context(|| {
                    format!("{damage:?} while it runs: {runs}\n{}", scene.drayage.webhook.log())
                })?;
            }
        }
        let log = scene.drayage.log();
        ensure!(log.contains("holds no certificate that can be read"), "not told: {log}");
        Ok(())
    });
}

#[test]
fn deleted_certificate_is_back_within_seconds() {
    prove(async {
        let (cluster, scene) = stage().await?;
        for name in [LEAF, AUTHORITY] {
            let former = secret(&cluster, name).await?["metadata"]["uid"].clone();
            cluster.kubectl(&["delete", "secret", "-n", "drayage", name]).await?;
            let start = Instant::now();
            eventually("another one", async || {
                let uid = secret(&cluster, name).await?["metadata"]["uid"].clone();
                ensure!(uid != former, "the former one");
                Ok(())
            })
            .await?;
            ensure!(start.elapsed() < HEALED_WITHIN, "{name}: {:?}", start.elapsed());
        }
        let log = cluster.log();
        let error = log.lines().find(|line| line.starts_with('E') && line.contains("WatchProgress"));
        ensure!(error.is_none(), "{error:?}");
        ensure!(!scene.drayage.webhook.log().contains("broke off"), "{}", scene.drayage.webhook.log());
        Ok(())
    });
}

#[test]
fn leaked_authority_is_trusted_no_longer_than_the_administrator_lets_it() {
    prove(async {
        let (cluster, scene) = stage().await?;
        let leaked = held(&secret(&cluster, AUTHORITY).await?, "ca.crt")?;
        let delete = async |name: &str| {
            cluster.kubectl(&["delete", "secret", "-n", "drayage", name]).await?;
            eventually("another one", async || secret(&cluster, name).await).await
        };
        let both = held(&delete(AUTHORITY).await?, "ca.crt")?;
        let new = both.strip_suffix(&leaked).context("the former one is trusted, for its leaf is served")?;
        // What docs/operations.md has an administrator do.
        let alone = json!({"data": {"ca.crt": BASE64.encode(new)}}).to_string();
        cluster.kubectl(&["patch", "secret", "-n", "drayage", AUTHORITY, "-p", &alone]).await?;
        eventually("the bundle", async || {
            ensure!(bundle(&cluster).await? == new);
            Ok(())
        })
        .await?;
        let leaf = delete(LEAF).await?;
        ensure!(held(&leaf, "ca.crt")? == new, "{leaf}");
        eventually("a pod", async || admitted(&cluster, &scene).await).await
    });
}

#[test]
fn webhook_that_nobody_has_registered_says_so_and_makes_no_registration() {
    prove(async {
        let (cluster, kubeconfig) = installed().await?;
        cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "drayage"]).await?;
        let scene = Scene::start().await?;
        let webhook = scene.drayage.webhook_in(&kubeconfig).await?;
        eventually("the reason", async || {
            let (status, text) = webhook.admin("/readyz").await?;
            ensure!(status == 503 && text.contains("apply the manifests"), "{status} {text}");
            secret(&cluster, LEAF).await
        })
        .await?;
        let found = cluster.kubectl(&["get", "mutatingwebhookconfigurations", "-o", "name"]).await?;
        ensure!(found.is_empty(), "{found}");
        let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/default");
        cluster.kubectl(&["apply", "-k", overlay]).await?;
        webhook.ready().await
    });
}
