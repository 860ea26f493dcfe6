//! Asks git for the commit that is being built, for `--version` and `drayage_build_info`.
//! A build outside a checkout says `unknown`, or what `DRAYAGE_COMMIT` says.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=DRAYAGE_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // Only a release build follows every commit; a debug build would otherwise rebuild all
    // members after each one, and says the commit at which it was first built.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
    {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = std::env::var("DRAYAGE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=DRAYAGE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
