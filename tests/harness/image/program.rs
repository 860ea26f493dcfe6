//! Layers that run: folders packed as tar archives, and the one static program of most images that
//! run, compiled once a process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::claim::program;

/// Its path inside the image.
pub(super) const PATH: &str = "/program";
const SOURCE: &str = include_str!("program.c");

/// A layer that holds the program, not compressed.
pub(super) fn layer() -> Result<Bytes> {
    static LAYER: OnceLock<Bytes> = OnceLock::new();
    if let Some(layer) = LAYER.get() {
        return Ok(layer.clone());
    }
    let layer = compiled()?;
    Ok(LAYER.get_or_init(|| layer).clone())
}

/// The architecture of this machine as images call it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer of everything in a folder, not compressed.
pub(super) fn archive(folder: &Path) -> Result<Bytes> {
    let mut tar = Command::new(program("tar", "apt-get install tar")?);
    tar.args(["--create", "--owner=0", "--group=0", "--numeric-owner", "--directory"]).arg(folder).arg(".");
    succeeded(tar).map(Bytes::from)
}

fn compiled() -> Result<Bytes> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("program.c");
    fs::write(&source, SOURCE)?;
    let mut compiler = Command::new(program("cc", "apt-get install build-essential")?);
    compiler.args(["-static", "-Os", "-s", "-o"]).args([&folder.path().join(&PATH[1..]), &source]);
    succeeded(compiler)?;
    archive(folder.path())
}

/// What a command wrote to its standard output.
fn succeeded(mut command: Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
