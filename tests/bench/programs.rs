//! The measured processes: started as a person would start them, with their time to readiness, their
//! memory and their CPU as the kernel counts them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::certificates::Pair;
use harness::process::{Process, binary};
use serde_json::Value;

use crate::fill::Ledger;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a process that starts; its time to readiness is known this exactly.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What /proc counts CPU time in, whatever the kernel's own tick.
const USER_TICK: Duration = Duration::from_millis(10);

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    started: Instant,
    /// Its public listener.
    pub(crate) address: SocketAddr,
    /// From its start until it said that it is ready.
    pub(crate) ready_after: Duration,
    /// The CPU time that this took.
    pub(crate) ready_cost: Duration,
}

impl Program {
    /// The webhook over a database, ready.
    pub(crate) async fn webhook(ledger: &Ledger, pair: &Pair) -> Result<Self> {
        let flags = [database(ledger), tls(pair)].concat();
        Self::start("drayage-webhook", &flags, "webhook").await?.ready().await
    }

    /// The api over a database, ready; its admin key lies in the folder's `admin.key`.
    pub(crate) async fn api(ledger: &Ledger, admin_key: &Path) -> Result<Self> {
        let key = ["--admin-key-file".to_owned(), admin_key.display().to_string()].to_vec();
        let flags = [database(ledger), shared(ledger), key, listen()].concat();
        Self::start("drayage-api", &flags, "api").await?.ready().await
    }

    /// The syncer over a database, ready.
    pub(crate) async fn syncer(ledger: &Ledger) -> Result<Self> {
        let flags = [database(ledger), shared(ledger)].concat();
        Self::start("drayage-syncer", &flags, "admin").await?.ready().await
    }

    /// The floor, which is ready once it listens.
    pub(crate) async fn floor(pair: &Pair) -> Result<Self> {
        Self::start("bench-floor", &tls(pair), "floor").await
    }

    async fn start(name: &str, flags: &[String], role: &str) -> Result<Self> {
        let mut command = Command::new(binary(name)?);
        command.args(flags).args(["--log-format", "json"]).env_clear();
        let started = Instant::now();
        let process = Process::start(command)?;
        let address = listening(&process, role).await?;
        let ready_after = started.elapsed();
        Ok(Self { process, started, address, ready_after, ready_cost: Duration::ZERO })
    }

    async fn ready(mut self) -> Result<Self> {
        let url = format!("http://{}/readyz", listening(&self.process, "admin").await?);
        let client = reqwest::Client::builder().no_proxy().build()?;
        loop {
            let answer = client.get(&url).send().await?;
            self.ready_after = self.started.elapsed();
            if answer.status() == 200 {
                self.ready_cost = self.cpu()?;
                return Ok(self);
            }
            let reason = answer.text().await?;
            if self.ready_after > PATIENCE {
                bail!("not ready after {PATIENCE:?}: {reason}\n{}", self.process.log());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A page of its admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Result<String> {
        let address = listening(&self.process, "admin").await?;
        Ok(reqwest::get(format!("http://{address}{path}")).await?.error_for_status()?.text().await?)
    }

    /// Bytes of memory that are resident.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most bytes of memory that ever were resident.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        Ok(kibibytes(&status, field).context("a process's memory")? * 1024)
    }

    /// The CPU time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(self.process.id())
    }
}

/// The CPU time that a process has used, also of one that has ended and was not waited for.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').context("the fields of stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(USER_TICK * ticks.sum::<Result<u32, _>>()?)
}

/// A field of a process's status.
pub(crate) fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim_end_matches("kB").trim().parse().ok()
}

fn listen() -> Vec<String> {
    ["--listen", "127.0.0.1:0"].map(str::to_owned).to_vec()
}

fn tls(Pair { chain, key }: &Pair) -> Vec<String> {
    let pair =
        ["--tls-cert".to_owned(), chain.display().to_string(), "--tls-key".into(), key.display().to_string()];
    [listen(), pair.to_vec()].concat()
}

fn database(ledger: &Ledger) -> Vec<String> {
    let url = format!("sqlite:{}", ledger.database().display());
    ["--admin-listen", "127.0.0.1:0", "--database", &url].map(str::to_owned).to_vec()
}

fn shared(ledger: &Ledger) -> Vec<String> {
    let key = ledger.seal_key().display().to_string();
    ["--source-registry", &ledger.source, "--seal-key-file", &key].map(str::to_owned).to_vec()
}

/// Waits for the log line that names a listener's address.
async fn listening(process: &Process, role: &str) -> Result<SocketAddr> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = process.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut bound = lines.filter(|line| line["message"] == "listening" && line["role"] == role);
        if let Some(address) = bound.find_map(|line| line["address"].as_str()?.parse().ok()) {
            return Ok(address);
        }
        if Instant::now() > deadline {
            bail!("no {role} listener within {PATIENCE:?}:\n{log}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
