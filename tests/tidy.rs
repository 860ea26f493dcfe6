//! Holds the code to the floors that ARCHITECTURE.md draws and to the house rules that are cheap
//! to check. What rustc or clippy can hold is in the lints of Cargo.toml instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Member, the members that it may use, and the libraries that would give it another's trade.
const FLOORS: [(&str, &[&str], &[&str]); 10] = [
    ("webhook", &["domain", "routing", "store", "runtime", "cluster"], &["rusqlite", "oci-client", "axum"]),
    (
        "syncer",
        &["domain", "routing", "store", "distribution", "copy", "runtime", "cluster"],
        &["rusqlite", "axum", "hyper"],
    ),
    (
        "api",
        &["domain", "routing", "store", "distribution", "runtime"],
        &["rusqlite", "kube", "k8s-openapi", "reqwest"],
    ),
    ("copy", &["domain", "distribution"], &["rusqlite", "kube", "k8s-openapi"]),
    ("routing", &["domain"], &["tokio", "rusqlite", "kube", "hyper", "reqwest"]),
    ("store", &["domain"], &["http", "hyper", "axum", "reqwest", "oci-client", "kube", "k8s-openapi"]),
    ("distribution", &["domain"], &["rusqlite", "kube", "k8s-openapi", "axum"]),
    ("runtime", &[], &["rusqlite", "kube", "k8s-openapi", "oci-client", "axum"]),
    ("cluster", &[], &["rusqlite", "oci-client", "axum"]),
    ("domain", &[], &["tokio", "rusqlite", "kube", "k8s-openapi", "hyper", "reqwest"]),
];

/// Names that say nothing about what lives inside.
const BANNED: [&str; 7] = ["utils", "util", "common", "helpers", "helper", "types", "misc"];

const LONGEST_FILE: usize = 400;
const LONGEST_MAIN: usize = 20;

#[test]
fn members_use_only_the_floors_below() {
    let members = members();
    let named: BTreeSet<_> = FLOORS.iter().map(|(member, ..)| (*member).to_owned()).collect();
    assert_eq!(members.keys().cloned().collect::<BTreeSet<_>>(), named, "the table names every member");
    for (member, may_use, _) in FLOORS {
        for used in members[member].uses.intersection(&named) {
            assert!(may_use.contains(&used.as_str()), "{member} may not use {used}");
        }
    }
}

#[test]
fn members_know_only_their_own_trade() {
    let members = members();
    for (member, _, never) in FLOORS {
        for library in never {
            assert!(!members[member].links.contains(*library), "{member} must not know {library}");
        }
    }
}

#[test]
fn webhook_enters_the_store_by_the_feed_only() {
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with(root().join("webhook/src"))) {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let rest = line.split("store::").skip(1);
            let before = line.split("store::").map(|part| part.chars().next_back());
            for (rest, before) in rest.zip(before) {
                // Only the crate's own name counts, not the end of another word.
                let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
                assert!(!whole || rest.starts_with("feed"), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn files_say_what_lives_in_them_and_stay_short() {
    for (path, text) in sources() {
        let path = path.display();
        let header = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!((1..=6).contains(&header), "{path}: begins with {header} lines of //! instead of 1 to 6");
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE, "{path}: {lines} lines");
    }
}

#[test]
fn programs_begin_in_a_short_main() {
    for program in ["api", "syncer", "webhook"] {
        let main = root().join(program).join("src/main.rs");
        let lines = fs::read_to_string(&main).unwrap().lines().count();
        assert!(lines <= LONGEST_MAIN, "{}: {lines} lines", main.display());
    }
}

#[test]
fn names_of_files_say_what_is_inside() {
    for (path, _) in sources() {
        let relative = path.strip_prefix(root()).unwrap();
        for part in relative.with_extension("").iter().filter_map(|part| part.to_str()) {
            assert!(!BANNED.contains(&part), "{}: `{part}` names nothing", relative.display());
            assert!(part != "mod", "{}: a module is `foo.rs` beside `foo/`", relative.display());
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let allowed = ["#[", "#!["].map(|opening| format!("{opening}allow("));
    for (path, text) in sources() {
        assert!(!allowed.iter().any(|allowed| text.contains(allowed)), "{}", path.display());
    }
}

/// What the manifest of a member names.
struct Member {
    /// Everything, its tests' dependencies included.
    uses: BTreeSet<String>,
    /// Only what is linked into it.
    links: BTreeSet<String>,
}

/// The members by their name without `drayage-`; `tests` stands above all floors and is left out.
fn members() -> BTreeMap<String, Member> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root());
    let metadata = cargo.output().expect("cargo");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages.map(member).filter(|(name, _)| name != "tests").collect()
}

fn member(package: &Value) -> (String, Member) {
    let short = |value: &Value| value.as_str().expect("a name").trim_start_matches("drayage-").to_owned();
    let dependencies = package["dependencies"].as_array().expect("dependencies");
    let linked = dependencies.iter().filter(|used| used["kind"] != "dev");
    let links = linked.map(|used| short(&used["name"])).collect();
    let uses = dependencies.iter().map(|used| short(&used["name"])).collect();
    (short(&package["name"]), Member { uses, links })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of the house with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["api", "syncer", "webhook", "crates", "tests"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}
