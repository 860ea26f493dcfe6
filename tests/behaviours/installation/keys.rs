//! Who makes an installation's keys: `drayage-syncer make-keys`, with the rights that the manifests give
//! and no others.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::claim::prove;
use harness::cluster::Cluster;
use harness::process::{binary, output};
use serde_json::json;

use crate::certificates::{applied, kubeconfig_of};

/// Has the keys made for a pod, and gives the folder that its containers share.
async fn make_keys(kubeconfig: &Path, database: &Path, secrets: &[&str]) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(binary("drayage-syncer")?);
    command.arg("make-keys").args(secrets).arg("--into").arg(folder.path());
    command.arg(format!("--kubernetes=kubeconfig:{}", kubeconfig.display()));
    command.arg(format!("--database=sqlite:{}", database.display()));
    output(command).await?;
    Ok(folder)
}

fn key(folder: &tempfile::TempDir, name: &str) -> Result<String> {
    let path = folder.path().join(name);
    let mode = path.metadata()?.permissions().mode() & 0o777;
    ensure!(mode == 0o400, "{name}: {mode:o}");
    Ok(std::fs::read_to_string(path)?)
}

/// The default overlay without anybody who runs, and what its two programs log in with.
async fn stage() -> Result<(Cluster, PathBuf, PathBuf)> {
    let cluster = applied("default").await?;
    let syncer = kubeconfig_of(&cluster, "drayage").await?;
    let webhook = kubeconfig_of(&cluster, "drayage-webhook").await?;
    Ok((cluster, syncer, webhook))
}

#[test]
fn keys_are_made_once_and_all_who_ask_find_the_same() {
    prove(async {
        let (cluster, syncer, webhook) = stage().await?;
        let database = cluster.kubeconfig().with_file_name("drayage.db");
        let routes = || make_keys(&webhook, &database, &["drayage-routes"]);
        let all = || make_keys(&syncer, &database, &["drayage-keys", "drayage-routes"]);
        // Several who make it at once, for only one of them can.
        let (first, second, third, fourth) = tokio::try_join!(routes(), all(), routes(), all())?;
        let again = all().await?;
        ensure!(key(&fourth, "seal.key")? == key(&second, "seal.key")?, "two seal keys");
        for name in ["seal.key", "admin.key", "routes.key"] {
            ensure!(key(&second, name)? == key(&again, name)?, "{name}");
        }
        ensure!(key(&first, "routes.key")? == key(&second, "routes.key")?, "two keys of the routes");
        ensure!(key(&third, "routes.key")? == key(&second, "routes.key")?, "two keys of the routes");
        ensure!(BASE64.decode(key(&second, "seal.key")?)?.len() == 32, "no seal key");
        ensure!(key(&second, "admin.key")? != key(&second, "routes.key")?, "one key for both");
        let refused = make_keys(&webhook, &database, &["drayage-keys"]).await.err().context("a refusal")?;
        ensure!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
        Ok(())
    });
}

#[test]
fn whoever_makes_the_keys_can_make_and_read_no_other_secret() {
    prove(async {
        let (cluster, syncer, webhook) = stage().await?;
        let another = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "another", "namespace": "drayage"},
        });
        let file = cluster.kubeconfig().with_file_name("another.json");
        std::fs::write(&file, another.to_string())?;
        let file = file.to_string_lossy();
        for account in [syncer, webhook] {
            let account = account.to_string_lossy();
            for attempt in [
                &["create", "-f", &*file][..],
                &["apply", "--server-side", "-f", &*file],
                &["get", "secret", "another"],
                &["get", "secrets"],
            ] {
                let tried = cluster.kubectl(&[attempt, &["--kubeconfig", &*account]].concat()).await;
                let refused = tried.err().with_context(|| format!("{attempt:?} as {account}"))?;
                ensure!(format!("{refused:#}").contains("is forbidden"), "{refused:#}");
            }
        }
        Ok(())
    });
}

#[test]
fn keys_that_the_administrator_made_are_taken_and_never_replaced() {
    prove(async {
        let (cluster, syncer, _) = stage().await?;
        let database = cluster.kubeconfig().with_file_name("drayage.db");
        let own = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "drayage-keys", "namespace": "drayage"},
            "stringData": {"seal.key": "of the administrator"},
        });
        cluster.create(&own).await?;
        let all = || make_keys(&syncer, &database, &["drayage-keys"]);
        let lacking = all().await.err().context("a refusal")?;
        ensure!(format!("{lacking:#}").contains("holds no admin.key"), "{lacking:#}");
        let patch = json!({"stringData": {"admin.key": "chosen-by-hand"}}).to_string();
        cluster.kubectl(&["patch", "secret", "-n", "drayage", "drayage-keys", "-p", &patch]).await?;
        let folder = all().await?;
        ensure!(key(&folder, "seal.key")? == "of the administrator", "replaced");
        ensure!(key(&folder, "admin.key")? == "chosen-by-hand", "replaced");
        Ok(())
    });
}

#[test]
fn no_seal_key_is_made_beside_a_database() {
    prove(async {
        let (cluster, syncer, _) = stage().await?;
        let database = cluster.kubeconfig().with_file_name("drayage.db");
        std::fs::write(&database, "")?;
        let refused = make_keys(&syncer, &database, &["drayage-keys"]).await.err().context("a refusal")?;
        ensure!(format!("{refused:#}").contains("from your backup"), "{refused:#}");
        let secrets = cluster.kubectl(&["get", "secrets", "-n", "drayage", "-o", "name"]).await?;
        ensure!(secrets.is_empty(), "{secrets}");
        Ok(())
    });
}
