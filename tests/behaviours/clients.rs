//! Row A9: the real clients, as PyPI publishes them, run unmodified against the API. Each has a
//! virtual environment of its own, which `scripts/prepare` makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use harness::claim::{Missing, cache, prove};
use harness::image::Image;
use harness::process;
use harness::scene::{COMMIT, Scene};

fn python(client: &str) -> Result<PathBuf, Missing> {
    let environment = cache("clients").join(client);
    let hint = "make test makes its environment with python3 -m venv";
    if !environment.join("complete").is_file() {
        return Err(Missing::new(client, hint));
    }
    Ok(environment.join("bin/python"))
}

async fn run(client: &str, script: &str) -> Result<()> {
    let python = python(client)?;
    let scene = Scene::start().await?;
    let image = Image::builder().revision(COMMIT).random_layer(1000)?.finish()?;
    scene.source.push(&image, "algorithms/ada/sieve", "latest").await?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("behaviours/clients").join(script);
    let mut command = Command::new(python);
    // A variable of whoever runs the tests would take the place of an argument of the client.
    command.env_clear().arg(&path);
    command.env("API", scene.drayage.api_url()?).env("COMMIT", COMMIT).env("REGISTRY", &scene.registry);
    command.env("OWNER_KEY", &scene.algorithm.key).env("ADMIN_KEY", &scene.drayage.admin_key);
    process::output(command).await.with_context(|| scene.drayage.api.log())?;
    Ok(())
}

#[test]
fn algorithmia_2_0_5_creates_compiles_publishes_and_lists() {
    prove(run("algorithmia-2.0.5", "algorithmia_2_0_5.py"));
}

#[test]
fn algorithmia_api_client_1_5_5_creates_compiles_publishes_and_lists() {
    prove(run("algorithmia-api-client-1.5.5", "algorithmia_api_client_1_5_5.py"));
}
