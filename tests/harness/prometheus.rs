//! A Prometheus that scrapes Drayage's programs every second under the labels that a PodMonitor gives,
//! and what it answers. Rules are taken from the manifest that the operator would read.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::claim::program;
use crate::process::{self, Process};
use crate::services::Drayage;

const HINT: &str = "apt-get install prometheus";

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes the three programs and evaluates rules.
    pub async fn over(drayage: &Drayage, rules: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("rules.yaml"), rules)?;
        let config = folder.path().join("prometheus.yaml");
        fs::write(&config, scraping(drayage)?)?;
        let mut command = Command::new(program("prometheus", HINT)?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start(command)?;
        let address = process
            .line("`Listening on`", |line| line.split_once("msg=\"Listening on\" address=")?.1.parse().ok());
        let address = address.await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { _process: process, _folder: folder, address, client })
    }

    /// The data of an answer below `/api/v1/`; an error holds what it complained about.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let url = reqwest::Url::parse_with_params(&url, query)?;
        let text = self.client.get(url).send().await?.text().await?;
        let mut answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(answer["status"] == "success", "{query:?}: {text}");
        Ok(answer["data"].take())
    }

    /// The series that an expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.get("query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }
}

/// Runs promtool in a folder, and gives what it said.
pub async fn promtool(folder: &Path, arguments: &[&str]) -> Result<String> {
    let tool: PathBuf = program("promtool", HINT)?;
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(folder);
    process::output(command).await
}

/// The rules as Prometheus reads them: the `spec` of the PrometheusRule.
pub fn rules(manifest: &str) -> Result<String> {
    let (_, spec) = manifest.split_once("\nspec:\n").context("a spec")?;
    Ok(spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect())
}

fn scraping(drayage: &Drayage) -> Result<String> {
    let mut text = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n\
                    rule_files: [rules.yaml]\nscrape_configs:\n- job_name: drayage/drayage\n  static_configs:\n"
        .to_owned();
    let programs = [("api", &drayage.api), ("syncer", &drayage.syncer), ("webhook", &drayage.webhook)];
    for (name, service) in programs {
        let labels =
            format!("{{namespace: drayage, pod: {name}-0, container: {name}, endpoint: {name}-admin}}");
        writeln!(text, "  - {{targets: ['{}'], labels: {labels}}}", service.admin_address())?;
    }
    Ok(text)
}
