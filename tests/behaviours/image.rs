//! The container image: what `make image` left in target/image is what it claims to be, and packing
//! the same files again, elsewhere and later, gives the same digest.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::claim::{Missing, prove};
use serde_json::Value;

const PROGRAMS: [&str; 3] = ["drayage-api", "drayage-syncer", "drayage-webhook"];
const MATERIALS: &str = "usr/share/doc/drayage/materials.spdx.json";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// In bytes, and of what a node downloads.
const LARGEST: u64 = 40 << 20;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An image in an OCI layout: its manifest's digest, its config, its layers unpacked.
struct Unpacked {
    digest: String,
    size: u64,
    config: Value,
    /// What tar says of each file: its mode, its owner, its size and its name.
    listing: String,
    root: tempfile::TempDir,
}

impl Unpacked {
    fn read(layout: &Path) -> Result<Self> {
        let blob = |digest: &Value| -> Result<PathBuf> {
            let hash = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
            Ok(layout.join("blobs/sha256").join(hash.context("a digest")?))
        };
        let json = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
        let index = json(layout.join("index.json"))?;
        let digest = &index["manifests"][0]["digest"];
        let manifest = json(blob(digest)?)?;
        let (layers, config) = (manifest["layers"].as_array().context("layers")?, &manifest["config"]);
        let root = tempfile::tempdir()?;
        let (mut size, mut listing) = (0, String::new());
        for layer in layers {
            size += layer["size"].as_u64().context("a size")?;
            let archive = blob(&layer["digest"])?;
            listing += &tar(&["--list", "--verbose", "--numeric-owner"], &archive, root.path())?;
            tar(&["--extract", "--no-same-owner"], &archive, root.path())?;
        }
        let digest = digest.as_str().context("a digest")?.to_owned();
        Ok(Self { digest, size, config: json(blob(&config["digest"])?)?["config"].clone(), listing, root })
    }
}

fn tar(what: &[&str], archive: &Path, folder: &Path) -> Result<String> {
    let mut tar = Command::new("tar");
    tar.args(what).arg("--gzip").arg("--file").arg(archive).arg("--directory").arg(folder);
    told(tar)
}

/// One of the scripts, for a commit of a certain time.
fn script(name: &str) -> Command {
    let mut script = Command::new(workspace().join("scripts").join(name));
    script
        .current_dir(workspace())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("DRAYAGE_COMMIT", "0123456789ab");
    script
}

/// What a command writes to its standard output, if it succeeds.
fn told(mut command: Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The image that was built last.
fn built() -> Result<Unpacked> {
    let layout = workspace().join("target/image");
    if !layout.join("index.json").is_file() {
        return Err(Missing::new("the image", "make image").into());
    }
    Unpacked::read(&layout)
}

/// Packs a folder as `make image` does.
fn pack(root: &Path, layout: &Path) -> Result<Unpacked> {
    let mut packing = script("image-layout");
    packing.args([root, layout]);
    told(packing)?;
    Unpacked::read(layout)
}

#[test]
fn image_runs_as_nobody_and_says_what_it_is() {
    prove(async {
        let image = built()?;
        ensure!(image.config["User"] == "65532:65532", "{}", image.config);
        for label in ["title", "description", "version", "revision", "created", "licenses"] {
            let label = format!("org.opencontainers.image.{label}");
            ensure!(image.config["Labels"][&label].is_string(), "no {label}: {}", image.config);
        }
        ensure!(image.size <= LARGEST, "{} bytes", image.size);
        ensure!(image.config["Env"] == serde_json::json!(["PATH=/usr/local/bin"]), "{}", image.config);
        // Only the database's folder, which a volume takes the place of, is not root's.
        let others = image.listing.lines().filter(|line| !line.contains(" 0/0 ")).collect::<Vec<_>>();
        ensure!(others.len() == 1 && others[0].ends_with("var/lib/drayage/"), "{others:?}");
        let writable = |line: &&str| line.as_bytes()[5] == b'w' || line.as_bytes()[8] == b'w';
        ensure!(!image.listing.lines().any(|line| writable(&line)), "{}", image.listing);
        ensure!(image.root.path().join(MATERIALS).is_file(), "{}", image.listing);
        let authorities = fs::read_to_string(image.root.path().join(AUTHORITIES))?;
        ensure!(authorities.matches("BEGIN CERTIFICATE").count() > 50, "too few authorities");
        Ok(())
    });
}

#[test]
fn programs_of_the_image_run_in_a_root_that_holds_nothing_else() {
    prove(async {
        let image = built()?;
        for program in PROGRAMS {
            let mut run = Command::new("unshare");
            run.args(["--map-root-user", "--root"]).arg(image.root.path());
            run.arg(format!("/usr/local/bin/{program}"))
                .arg("--version")
                .env_clear()
                .env("PATH", "/usr/bin:/bin");
            let version = told(run)?;
            ensure!(version.starts_with(&format!("{program} 0.1.0 (")), "{version}");
            ensure!(!version.contains("unknown"), "no commit: {version}");
        }
        Ok(())
    });
}

#[test]
fn bill_of_materials_names_every_library_of_the_programs() {
    prove(async {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut listing = script("image-materials");
        listing.arg(target);
        let materials: Value = serde_json::from_str(&told(listing)?)?;
        ensure!(materials["spdxVersion"] == "SPDX-2.3", "{}", materials["spdxVersion"]);
        let packages = materials["packages"].as_array().context("packages")?;
        let named: BTreeSet<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        // Cargo's own answer, asked another way.
        let mut tree = Command::new(env!("CARGO"));
        tree.args([
            "tree",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        tree.args(PROGRAMS.iter().flat_map(|program| ["--package", program])).current_dir(workspace());
        let tree = told(tree)?;
        let linked: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let missing: Vec<_> =
            linked.iter().filter(|name| !name.is_empty() && !named.contains(*name)).collect();
        ensure!(missing.is_empty(), "not in the bill: {missing:?}");
        Ok(())
    });
}

#[test]
fn packing_again_elsewhere_gives_the_same_digest() {
    prove(async {
        let folder = tempfile::tempdir()?;
        let lay = |name: &str, mode: u32| -> Result<PathBuf> {
            let root = folder.path().join(name);
            // Made in another order and with other rights, at another time.
            let mut files = vec!["usr/local/bin/drayage-api", "etc/ssl/certs/ca-certificates.crt", MATERIALS];
            if mode == 0o600 {
                files.reverse();
            }
            fs::create_dir_all(root.join("var/lib/drayage"))?;
            for file in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().context("a folder")?)?;
                fs::write(&path, file)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
            Ok(root)
        };
        let once = pack(&lay("once", 0o644)?, &folder.path().join("first"))?;
        let again = pack(&lay("again", 0o600)?, &folder.path().join("second"))?;
        ensure!(
            once.digest == again.digest,
            "{} and {}\n{}{}",
            once.digest,
            again.digest,
            once.listing,
            again.listing
        );
        fs::write(folder.path().join("again").join(MATERIALS), "something else")?;
        let other = pack(&folder.path().join("again"), &folder.path().join("third"))?;
        ensure!(once.digest != other.digest, "other bytes have the same digest");
        Ok(())
    });
}
