//! How a claim is proven: in a runtime of its own, with an error chain that says what failed.
//! A claim whose server binary this machine lacks is skipped by name; with `CI=true` it fails.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A program that a claim needs and this machine lacks.
#[derive(Debug, thiserror::Error)]
#[error("needs {what}: {hint}")]
pub struct Missing {
    what: String,
    hint: String,
}

impl Missing {
    /// Something that is not there, and how to get it.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// Finds a program on PATH.
pub fn program(name: &str, hint: &str) -> Result<PathBuf, Missing> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Missing::new(name, hint))
}

/// A folder of the cache that `scripts/prepare` fills once a machine.
pub fn cache(name: &str) -> PathBuf {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.unwrap_or_default().join("drayage").join(name)
}

/// Runs a claim to its end. An error fails the test; something missing skips it.
pub fn prove(claim: impl Future<Output = Result<()>>) {
    // Another claim of this process may have installed it already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime for the claim");
    let Err(error) = runtime.block_on(claim) else { return };
    match error.downcast_ref::<Missing>() {
        Some(missing) if env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{missing}"),
        Some(missing) => skip(missing),
        None => panic!("{error:?}"),
    }
}

/// Tells which claim was skipped: on standard error and, for `make test`, in a file.
fn skip(missing: &Missing) {
    let thread = std::thread::current();
    let line = format!("skipped {}: {missing}\n", thread.name().unwrap_or("a claim"));
    eprint!("{line}");
    if let Some(path) = env::var_os("DRAYAGE_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a line in $DRAYAGE_SKIPPED");
    }
}

/// How long anything is waited for. Far beyond what it takes, so that a busy machine passes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; gives up with `what` and the last refusal.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(refusal) if Instant::now() > deadline => {
                return Err(refusal).with_context(|| format!("waited {PATIENCE:?} for {what}"));
            }
            // What is asked for is another process's doing, which nothing announces.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
