//! A layer that runs: one static program, compiled once a process and packed as a tar archive.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::claim::program;

/// Its path inside the image.
pub(super) const PATH: &str = "/program";
const SOURCE: &str = include_str!("program.c");

/// The layer's bytes, not compressed.
pub(super) fn layer() -> Result<Bytes> {
    static LAYER: OnceLock<Bytes> = OnceLock::new();
    if let Some(layer) = LAYER.get() {
        return Ok(layer.clone());
    }
    let layer = Bytes::from(archive(&compiled()?));
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

fn compiled() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (source, binary) = (folder.path().join("program.c"), folder.path().join("program"));
    fs::write(&source, SOURCE)?;
    let mut compiler = Command::new(program("cc", "apt-get install build-essential")?);
    compiler.args(["-static", "-Os", "-s", "-o"]).args([&binary, &source]);
    let output = compiler.output()?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(&binary).context("what cc made")
}

/// An archive of this one file (POSIX ustar): a header, the bytes, two empty blocks at the end.
fn archive(bytes: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, PATH.trim_start_matches('/'));
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", bytes.len()));
    put(136, "00000000000");
    // The sum is taken over blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = bytes.len().next_multiple_of(512) - bytes.len();
    [&header, bytes, &vec![0; padding + 1024]].concat()
}
