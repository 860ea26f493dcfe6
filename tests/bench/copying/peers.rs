//! The other copiers: Debian's skopeo, and what else is found on PATH, each as its own documents say.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::claim::program;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::shape::Shape;
use super::{Cost, Source};
use crate::programs;

const SKOPEO: &str = "apt-get install skopeo";
/// Between two looks at a running peer.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The arguments with which a source is copied to a host.
type Arguments = fn(&Source, &str) -> Vec<String>;

/// A copier and how it is called.
pub(super) struct Peer {
    pub(super) name: &'static str,
    program: PathBuf,
    arguments: Arguments,
}

impl Peer {
    /// Those that copy one image; skopeo is the first.
    pub(super) fn found() -> Result<Vec<Self>> {
        let skopeo =
            Self { name: "skopeo copy", program: program("skopeo", SKOPEO)?, arguments: skopeo_copy };
        let others: [(_, _, Arguments); 3] = [
            ("crane", "crane copy", crane),
            ("regctl", "regctl image copy", regctl),
            ("oras", "oras cp", oras),
        ];
        let others = others.into_iter().filter_map(|(binary, name, arguments)| {
            Some(Self { name, program: program(binary, "").ok()?, arguments })
        });
        Ok(std::iter::once(skopeo).chain(others).collect())
    }

    /// skopeo, copying a whole repository.
    pub(super) fn skopeo_sync() -> Result<Self> {
        Ok(Self { name: "skopeo sync", program: program("skopeo", SKOPEO)?, arguments: skopeo_sync })
    }

    /// Copies the source's images to a registry; a peer that fails is an error.
    pub(super) async fn copy(&self, source: &Source, to: String) -> Result<Cost> {
        let mut command = Command::new(&self.program);
        command
            .args((self.arguments)(source, &to))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let name = self.name;
        tokio::task::spawn_blocking(move || spent(command)).await?.with_context(|| name)
    }
}

/// Runs a command to its end. What it has spent is read once it has ended and before it is waited for.
fn spent(mut command: Command) -> Result<Cost> {
    let start = Instant::now();
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(pid), ended)?.is_none() {
        let seen = fs::read_to_string(&status).ok().and_then(|status| programs::kibibytes(&status, "VmHWM:"));
        peak = seen.map_or(peak, |kibibytes| kibibytes * 1024);
        std::thread::sleep(LOOK_EVERY);
    }
    let wall = start.elapsed();
    let cpu = programs::cpu(child.id())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Cost { wall, cpu, peak })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The one image of the source, and the same at the destination.
fn both(source: &Source, to: &str) -> [String; 2] {
    let tag = source.shape.images().first().map_or("", |(tag, _)| tag);
    [source.registry.host(), to.to_owned()].map(|host| format!("{host}/{}:{tag}", Shape::REPOSITORY))
}

fn skopeo_copy(source: &Source, to: &str) -> Vec<String> {
    let [from, to] = both(source, to).map(|reference| format!("docker://{reference}"));
    words(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to])
}

fn skopeo_sync(source: &Source, to: &str) -> Vec<String> {
    let from = format!("{}/{}", source.registry.host(), Shape::REPOSITORY);
    let to = format!("{to}/algorithms/bench");
    let flags = ["--src-tls-verify=false", "--dest-tls-verify=false", "--src", "docker", "--dest", "docker"];
    words(&[&["sync"], &flags[..], &[&from, &to]].concat())
}

fn crane(source: &Source, to: &str) -> Vec<String> {
    let [from, to] = both(source, to);
    words(&["copy", "--insecure", &from, &to])
}

fn regctl(source: &Source, to: &str) -> Vec<String> {
    let plain = [source.registry.host(), to.to_owned()].map(|host| format!("reg={host},tls=disabled"));
    let [from, to] = both(source, to);
    words(&["--host", &plain[0], "--host", &plain[1], "image", "copy", &from, &to])
}

fn oras(source: &Source, to: &str) -> Vec<String> {
    let [from, to] = both(source, to);
    words(&["cp", "--from-plain-http", "--to-plain-http", &from, &to])
}
