//! A disk of a few bytes, for one registry's storage or for the database: a tmpfs, which only root may mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::claim::Missing;

/// A disk that is mounted; gone when dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a new one of so many bytes.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(path)?;
        let options = format!("size={bytes}");
        if !run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], path)? {
            return Err(Missing::new("a small disk", "run as root, where file systems may be mounted").into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Gives it another size, with what lies on it.
    pub fn resize(&self, bytes: u64) -> Result<()> {
        let done = run("mount", &["-o", &format!("remount,size={bytes}")], &self.path)?;
        done.then_some(()).context("the disk keeps its size")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a process that is ending may still look at it.
        let _unmounted = run("umount", &["--lazy"], &self.path);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<bool> {
    let output = Command::new(program).args(arguments).arg(path).output();
    Ok(output.with_context(|| program.to_owned())?.status.success())
}
