//! The alerts and the dashboard of manifests/monitoring: what fires when, that a real Prometheus finds
//! every metric, label and reason that they name in what the real programs export, and that the
//! operator's own definitions take the objects.

mod expression;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::claim::{Missing, cache, eventually, prove};
use harness::cluster::Cluster;
use harness::process;
use harness::prometheus::{Prometheus, promtool, rules};
use harness::registry::Login;
use harness::scene::{COMMIT, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use expression::Expression;

fn manifest(name: &str) -> Result<String> {
    Ok(fs::read_to_string(repository().join("manifests/monitoring").join(name))?)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn alerts_fire_when_something_is_broken_and_not_before() {
    prove(async {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("rules.yaml"), rules(&manifest("prometheus-rule.yaml")?)?)?;
        fs::write(folder.path().join("alerts.yaml"), include_str!("monitoring/alerts.yaml"))?;
        promtool(folder.path(), &["check", "rules", "--lint-fatal", "rules.yaml"]).await?;
        promtool(folder.path(), &["test", "rules", "alerts.yaml"]).await?;
        Ok(())
    });
}

#[test]
fn prometheus_finds_whatever_alerts_and_dashboard_name() {
    prove(async {
        let cluster = Cluster::start().await?;
        let scene = eventful(&cluster).await?;
        let prometheus =
            Prometheus::over(&scene.drayage, &rules(&manifest("prometheus-rule.yaml")?)?).await?;
        eventually("every program to be scraped", async || {
            let up = prometheus.query("up == 1").await?;
            ensure!(up.len() == 3, "{up:?}");
            Ok(())
        })
        .await?;
        let alerts = alerts(&prometheus).await?;
        let runbook = fs::read_to_string(repository().join("docs/operations.md"))?;
        for alert in &alerts {
            let name = alert["name"].as_str().context("a name")?;
            ensure!(alert["health"] == "ok", "{alert}");
            ensure!(runbook.contains(&format!("| `{name}`")), "docs/operations.md does not tell of {name}");
        }
        let of_alerts = alerts.iter().map(|alert| alert["query"].clone());
        let dashboard: Value = serde_json::from_str(&manifest("dashboard.json")?)?;
        let panels = dashboard["panels"].as_array().context("panels")?.iter();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let of_panels = targets.map(|target| target["expr"].clone());
        let mut checked = 0;
        for expression in of_alerts.chain(of_panels) {
            let expression = expression.as_str().context("an expression")?;
            known(&prometheus, expression).await.with_context(|| expression.to_owned())?;
            checked += 1;
        }
        ensure!(checked > 30, "only {checked} expressions were found");
        Ok(())
    });
}

#[test]
fn operator_takes_the_objects_alone_and_beside_an_overlay() {
    prove(async {
        let definitions = cache("prometheus-operator-v0.85.0");
        if !definitions.is_dir() {
            Err(Missing::new("the Prometheus operator's definitions", "make test fetches them with Go"))?;
        }
        let cluster = Cluster::start().await?;
        cluster.kubectl(&["create", "-f", &definitions.to_string_lossy()]).await?;
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        let folder = tempfile::tempdir()?;
        let mut copy = Command::new("cp");
        copy.arg("--recursive").args([&repository().join("manifests"), folder.path()]);
        process::output(copy).await?;
        let both = json!({"resources": ["overlays/default"], "components": ["monitoring"]});
        let manifests = folder.path().join("manifests");
        fs::write(manifests.join("kustomization.yaml"), both.to_string())?;
        for applied in [manifests.clone(), manifests.join("monitoring")] {
            let apply = ["apply", "--server-side", "--warnings-as-errors", "-k", &applied.to_string_lossy()];
            cluster.kubectl(&apply).await?;
        }
        let rules = cluster.get(&["get", "-n", "drayage", "prometheusrules,podmonitors,configmaps"]).await?;
        let names = rules["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]);
        let names: Vec<_> = names.filter_map(Value::as_str).collect();
        ensure!(
            names.starts_with(&["drayage", "drayage"]) && names.contains(&"drayage-dashboard"),
            "{names:?}"
        );
        Ok(())
    });
}

/// A scene in which everything has happened that is counted: a push, one that failed, an admission.
async fn eventful(cluster: &Cluster) -> Result<Scene> {
    let kubernetes = format!("kubeconfig:{}", cluster.kubeconfig().display());
    let scene = Scene::start_with(|drayage| drayage.syncer(&["--kubernetes", &kubernetes])).await?;
    let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
    drayage.compile(algorithm, &scene.stored_push()).await?;
    drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
    let nobody = Login::new("nobody")?;
    let refused = json!({
        "registry_id": scene.registry,
        "registry_username": nobody.username,
        "registry_password": nobody.password,
    });
    let path = algorithm.path(&format!("/versions/{COMMIT}/registry"));
    drayage.call(Method::POST, &path, &algorithm.key, Some(&refused)).await?.expect(204)?;
    let status = drayage.ended(algorithm, COMMIT, &scene.registry).await?;
    ensure!(status["reason"] == "credentials_refused", "{status}");
    drayage.admit(&scene.pod("runners", &format!(":{COMMIT}"))).await?;
    Ok(scene)
}

/// The alerts that Prometheus has evaluated.
async fn alerts(prometheus: &Prometheus) -> Result<Vec<Value>> {
    eventually("the alerts to be evaluated", async || {
        let rules = prometheus.get("rules", &[("type", "alert")]).await?;
        let rules = rules["groups"][0]["rules"].as_array().cloned().context("rules")?;
        ensure!(rules.iter().all(|rule| rule["health"] != "unknown"), "{rules:?}");
        Ok(rules)
    })
    .await
}

/// Checks that Prometheus evaluates an expression, and that whatever it names exists.
async fn known(prometheus: &Prometheus, expression: &str) -> Result<()> {
    // Grafana puts a duration there.
    let expression = expression.replace("$__rate_interval", "1m");
    prometheus.query(&expression).await?;
    let expression = Expression::read(&expression);
    ensure!(!expression.metrics.is_empty(), "no metric");
    for (metric, labels) in &expression.metrics {
        for label in labels.iter().map(String::as_str).chain(["job"]) {
            let found = prometheus.query(&format!("{metric}{{{label}!=\"\"}}")).await?;
            ensure!(!found.is_empty(), "no program exports {metric} with the label {label}");
        }
    }
    for label in &expression.labels {
        let mut metrics = expression.metrics.keys().map(|metric| format!("{metric}{{{label}!=\"\"}}"));
        let any = metrics.by_ref().collect::<Vec<_>>().join(" or ");
        ensure!(!prometheus.query(&any).await?.is_empty(), "no metric of it has the label {label}");
    }
    for reason in &expression.reasons {
        reason.parse::<domain::push::Reason>().with_context(|| reason.clone())?;
    }
    Ok(())
}
