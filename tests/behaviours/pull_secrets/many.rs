//! A thousand namespaces cost the API server one write each and then nothing, and the syncer little memory.
//! `--nocapture` shows the figures.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use harness::registry::Login;
use harness::services::Service;
use serde_json::json;

use super::{NAME, stage};

const NAMESPACES: usize = 1_000;
/// What the whole syncer may hold at its peak, in KiB.
const MEMORY: u64 = 64 * 1024;

/// Requests about Secrets of whole namespaces or by their name, since the server was started.
async fn requests(cluster: &Cluster) -> Result<f64> {
    let page = cluster.kubectl(&["get", "--raw", "/metrics"]).await?;
    let lines = page
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{") && line.contains("resource=\"secrets\""));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum())
}

/// Waits until so many Secrets, each with so many registries, are there; in seconds since `start`.
async fn all_hold(cluster: &Cluster, registries: usize, start: Instant) -> Result<f64> {
    eventually("all Secrets", async || {
        // One line a Secret, without the rest of it.
        let config = r"{range .items[*]}{.data.\.dockerconfigjson}{'\n'}{end}".replace('\'', "\"");
        let field = format!("--field-selector=metadata.name={NAME}");
        let output = format!("jsonpath={config}");
        let list = ["get", "secrets", "--all-namespaces", &field, "-o", &output];
        let found = cluster.kubectl(&list).await?;
        let whole = found.lines().filter(|line| {
            use base64::Engine;
            let json = base64::engine::general_purpose::STANDARD.decode(line).unwrap_or_default();
            String::from_utf8_lossy(&json).matches("username").count() == registries
        });
        let whole = whole.count();
        ensure!(whole == NAMESPACES, "{whole} of {NAMESPACES}");
        Ok(())
    })
    .await?;
    Ok(start.elapsed().as_secs_f64())
}

/// The most memory that the process has had resident, in KiB.
fn peak(service: &Service) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn a_thousand_namespaces_cost_a_write_each_and_little_memory() {
    prove(async {
        let (cluster, mut scene) = stage().await?;
        cluster.kubectl(&["delete", "namespace", super::RUNNERS, "--wait=false"]).await?;
        scene.drayage.syncer.kill()?;
        let label = json!({"drayage.dev/runners": "enabled"});
        let namespaces: Vec<_> = (0..NAMESPACES)
            .map(|number| {
                json!({"apiVersion": "v1", "kind": "Namespace",
                       "metadata": {"name": format!("runners-{number}"), "labels": label}})
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": namespaces});
        let file = cluster.kubeconfig().with_file_name("namespaces.json");
        fs::write(&file, list.to_string())?;
        cluster.kubectl(&["create", "-f", &file.to_string_lossy()]).await?;

        let (before, start) = (requests(&cluster).await?, Instant::now());
        scene.drayage.syncer.restart().await?;
        let (made, peak_first) = (all_hold(&cluster, 1, start).await?, peak(&scene.drayage.syncer)?);
        let start = Instant::now();
        scene.drayage.register("second.example", Some(&Login::new("second")?)).await?;
        let changed = all_hold(&cluster, 2, start).await?;
        let count = requests(&cluster).await? - before;
        let peak = peak(&scene.drayage.syncer)?;
        eprintln!(
            "{NAMESPACES} namespaces: all have it {made:.1} s after the start, the change of a registry {changed:.1} s after it; \
             {count} requests about Secrets, looks of this test included; at most {peak_first}, then {peak} KiB resident"
        );
        ensure!(peak < MEMORY, "{peak} KiB");
        // Two writes each, the watches, and the looks of this test.
        ensure!(count < 2.0 * NAMESPACES as f64 + 100.0, "{count} requests");
        Ok(())
    });
}
