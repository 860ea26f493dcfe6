//! Starts Debian's docker-registry for a test and stops it afterwards. Also used by the tests of `copy`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use domain::reference::Digest;
use tempfile::TempDir;

/// The login that a registry with `LOGIN` accepts.
pub(crate) const LOGIN: (&str, &str) = ("ann", "correct horse");
const HTPASSWD: &str = "ann:$2y$05$e3S1ljDWkKW/wT1DVsmWQOnnx/dciPRN7.2xH.dE8wDFBzZQzn.w6\n";

/// A running registry on a port of its own choice.
pub(crate) struct DockerRegistry {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    folder: TempDir,
    process: Child,
}

impl DockerRegistry {
    /// A registry that anybody may write to; `None` when docker-registry is not installed.
    pub(crate) fn open() -> Option<Self> {
        Self::start("")
    }

    /// A registry that wants [`LOGIN`].
    pub(crate) fn locked() -> Option<Self> {
        Self::start("auth: {htpasswd: {realm: test, path: FOLDER/htpasswd}}\n")
    }

    fn start(more: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().to_str().expect("UTF-8");
        let more = more.replace("FOLDER", path);
        let configuration = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test}}\n{more}"
        );
        write(folder.path(), "config.yml", &configuration);
        write(folder.path(), "htpasswd", HTPASSWD);
        let started = Command::new("docker-registry")
            .args(["serve", &format!("{path}/config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{test}: docker-registry is missing (apt-get install docker-registry)"
            );
            eprintln!("skipped {test}: docker-registry is missing (apt-get install docker-registry)");
            return None;
        };
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut seen = String::new();
        let host = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("a log") > 0, "docker-registry does not start: {seen}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().expect("an address").to_owned();
            }
            seen.push_str(&line);
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { host, folder, process })
    }

    /// Where a blob or a manifest lies on disk.
    pub(crate) fn blob_file(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.path().join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file");
}
