//! One process that a test started: its standard error kept whole, ended by its id, gone on drop.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::claim::eventually;

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it with nothing on standard input and its standard error kept.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let stderr = child.stderr.take().context("a piped standard error")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { name, child, lines })
    }

    /// Everything it has written to standard error so far.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard error in which `find` finds something.
    pub async fn line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let what = format!("{what} from {}", self.name);
        let name = self.name.clone();
        let found = eventually(&what, async || {
            // The exit is looked at first, so that the last lines before it are not missed.
            let exit = self.child.try_wait()?;
            let found = self.log().lines().find_map(&find);
            match (found, exit) {
                (Some(found), _) => Ok(Ok(found)),
                (None, Some(status)) => Ok(Err(status)),
                (None, None) => bail!("it has not said so"),
            }
        });
        match found.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(status)) => bail!("{name} ended ({status}) before it said {what}:\n{}", self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// The address of the listener in `role`, once it is bound.
    pub async fn listening(&mut self, role: &str) -> Result<SocketAddr> {
        self.line(&format!("`listening` as {role}"), |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let ours = line["message"] == "listening" && line["role"] == role;
            ours.then(|| line["address"].as_str()?.parse().ok()).flatten()
        })
        .await
    }

    /// Ends it as a crash would: SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.exit().await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub async fn exit(&mut self) -> Result<ExitStatus> {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), async || self.child.try_wait()?.context("it still runs"))
            .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ended = self.kill();
    }
}

/// Runs a command to its end and gives its standard output; an error holds its standard error.
pub async fn output(command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.with_context(|| shown.clone())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}: {stderr}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// One of our programs, built as the running test was and no older than its source.
pub fn binary(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    folder.as_ref().map(|folder| folder.join(name)).map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    // A test lies in `target/debug/deps`, the demo in `target/debug`.
    let mut folder = executable.parent().context("the folder of this program")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("the folder of the profile")?;
    }
    if !runs_under_cargo() {
        return Ok(folder.to_owned());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(folder.parent().context("the target folder")?);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output()?;
    ensure!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.to_owned())
}

/// Whoever starts a built test by hand has chosen its programs.
fn runs_under_cargo() -> bool {
    std::env::var_os("CARGO_MANIFEST_DIR").is_some()
}
