//! The machine of one claim: Linux namespaces in which the running test starts itself again, alone,
//! as process 1. Its network, processes, mounts and state folders are its own and go with it,
//! whether the claim holds, panics or is killed; only cgroups are left to be removed from outside.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::claim::{self, Missing};

/// What one node has for itself.
#[derive(Debug)]
pub(super) struct Member {
    /// What the node is called.
    pub(super) name: &'static str,
    /// Where its pods meet.
    pub(super) bridge: &'static str,
    /// Its own address there.
    pub(super) address: &'static str,
    pub(super) pods: &'static str,
    /// Where kubelet listens, and where it says how it is.
    pub(super) ports: [u16; 2],
}

/// The node whose bridge is the machine's way to everything that listens on it.
pub(super) const FIRST: Member =
    Member { name: "node", bridge: "pods0", address: ADDRESS, pods: "10.88.0.0/16", ports: [10250, 10248] };
/// The node that can be lost.
pub(super) const SECOND: Member = Member {
    name: "other",
    bridge: "pods1",
    address: "10.89.0.1",
    pods: "10.89.0.0/16",
    ports: [10260, 10258],
};
/// The machine's address.
pub(super) const ADDRESS: &str = "10.88.0.1";

/// Tells the test inside the folder that outlives it.
const INSIDE: &str = "DRAYAGE_TEST_MACHINE";

/// Proves a claim as `claim::prove` does, in a machine of its own.
pub fn prove(claim: impl Future<Output = Result<()>>) {
    match env::var_os(INSIDE) {
        Some(_) => claim::prove(async {
            furnish()?;
            claim.await
        }),
        None => claim::prove(async { inside() }),
    }
}

impl Member {
    /// The cgroup below which its pods live.
    pub(super) fn cgroup(&self) -> String {
        format!("{}/{}", cgroup(), self.name)
    }

    /// Gives it a place on the machine.
    pub(super) fn furnish(&self) -> Result<()> {
        let Self { bridge, address, .. } = self;
        run(&format!("ip link add {bridge} type bridge"))?;
        run(&format!("ip address add {address}/16 dev {bridge}"))?;
        run(&format!("ip link set {bridge} up"))?;
        folders()?.iter().try_for_each(|folder| Ok(fs::create_dir(folder.join(self.name))?))
    }

    /// Kills whatever runs in its pods, as its end would.
    pub(super) fn end_pods(&self) -> Result<()> {
        end(folders()?.into_iter().map(|folder| folder.join(self.name)).collect())
    }

    /// Nobody is at its addresses any more, nor refuses a connection there.
    pub(super) fn cut_off(&self) -> Result<()> {
        run(&format!("ip link set {} down", self.bridge))
    }
}

/// The cgroup of the machine.
fn cgroup() -> String {
    let folder = env::var_os(INSIDE).map(PathBuf::from).unwrap_or_default();
    format!("/{}", folder.file_name().unwrap_or_default().display())
}

/// Its folder in every hierarchy.
fn folders() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    let own = cgroup();
    let mut folders = vec![root.join(&own[1..])];
    // With version 1 of the cgroups there is one hierarchy a controller.
    folders.extend(fs::read_dir(root)?.flatten().map(|hierarchy| hierarchy.path().join(&own[1..])));
    folders.retain(|folder| folder.is_dir());
    Ok(folders)
}

/// Kills one process of a program, as a crash would.
pub fn crash(program: &str) -> Result<()> {
    for process in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).next() == Some(program.as_bytes()) {
            let id = process.file_name().to_string_lossy().parse()?;
            return Ok(kill_process(Pid::from_raw(id).context("a process")?, Signal::KILL)?);
        }
    }
    bail!("no {program} runs")
}

/// Kills what runs in these cgroups and those below them.
fn end(mut folders: Vec<PathBuf>) -> Result<()> {
    while let Some(folder) = folders.pop() {
        for process in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
            // It may have ended by itself meanwhile.
            let _ended = Pid::from_raw(process.parse()?).map(|id| kill_process(id, Signal::KILL));
        }
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        folders.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    Ok(())
}

/// Runs the test of this thread once more, inside.
fn inside() -> Result<()> {
    let hint = "be root of the machine itself, or of a privileged container";
    if run("unshare --net --ipc --pid --mount --mount-proc --fork true").is_err() {
        bail!(Missing::new("namespaces", hint));
    }
    let folder = tempfile::Builder::new().prefix("drayage-machine-").tempdir()?;
    let cgroups = Cgroups::new(folder.path());
    let _cgroups = cgroups.map_err(|error| Missing::new(format!("cgroups ({error:#})"), hint))?;
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").context("a thread with the test's name")?;
    // The first ends the second should this process be killed, the second everything inside.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--ipc", "--pid", "--mount", "--mount-proc"]);
    command.args(["--fork", "--kill-child"]).arg(env::current_exe()?);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, folder.path()).env("TMPDIR", folder.path());
    let output = command.output()?;
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{told}{errors}", output.status);
    ensure!(told.contains("1 passed"), "{test} did not run inside: {told}");
    // The name of a skipped claim is in here.
    eprint!("{errors}");
    Ok(())
}

/// Makes the machine usable: addresses, and empty folders where programs keep their state.
fn furnish() -> Result<()> {
    run("ip link set lo up")?;
    FIRST.furnish()?;
    // The address of a Service is translated on its way, and without a route there is no way.
    run(&format!("ip route add default dev {}", FIRST.bridge))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    run("mount --make-rshared /")?;
    ["/run", "/var/lib", "/var/log"]
        .into_iter()
        .try_for_each(|folder| run(&format!("mount -t tmpfs -o mode=755 tmpfs {folder}")))
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.with_context(|| line.to_owned())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The cgroups of one machine, in every hierarchy that there is; removed on drop.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn new(folder: &Path) -> Result<Self> {
        let name = folder.file_name().context("a name")?;
        let root = Path::new("/sys/fs/cgroup");
        // With version 2 there is one hierarchy, with version 1 one a controller.
        let mut hierarchies = vec![root.to_owned()];
        for entry in fs::read_dir(root)? {
            hierarchies.push(entry?.path());
        }
        let version_2 = root.join("cgroup.controllers").exists();
        hierarchies.retain(|path| (path == root) == version_2 && path.join("cgroup.procs").exists());
        ensure!(!hierarchies.is_empty(), "there are none below {}", root.display());
        let cgroups = Self(hierarchies.into_iter().map(|path| path.join(name)).collect());
        cgroups.0.iter().try_for_each(fs::create_dir_all)?;
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for cgroup in &self.0 {
            remove(cgroup);
        }
    }
}

/// Removes a cgroup, those below it first. Its files go with it.
fn remove(cgroup: &Path) {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    below
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .for_each(|entry| remove(&entry.path()));
    // The kernel may still be burying the last process; then an empty cgroup stays behind.
    let _removed = fs::remove_dir(cgroup);
}
