//! `make demo`: from nothing to a pod that names the enterprise's registry, each step shown as the
//! call a person would make and what came back. It stays up for the reader's own calls until
//! Ctrl-C, or ends by itself with `DEMO=once`; nothing is left behind. `narrator` does the talking.
#![expect(clippy::print_stdout, reason = "the demo speaks to a reader")]

mod narrator;
mod pod;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use harness::cluster::Cluster;
use harness::image::{Family, Image};
use harness::registry::{Login, Registry};
use harness::services::Drayage;
use reqwest::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use narrator::{Key, Narrator};

const OWNER: &str = "ada";
const NAME: &str = "primes";
const COMMIT: &str = "5fe3a2c6a1d2b8e94d0c7f61b3a9e8d7c6b5a493";

#[tokio::main]
async fn main() -> ExitCode {
    // Nothing else in this process has installed one.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut narrator = Narrator::default();
    let told = tokio::select! {
        told = tell(&mut narrator) => told,
        interrupted = interrupted() => interrupted.and_then(|()| anyhow::bail!("interrupted")),
    };
    let result = match told {
        Ok(_) if std::env::var("DEMO").is_ok_and(|demo| demo == "once") => Ok(()),
        Ok(stage) => stay_up(&stage).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {}\n{error:#}", narrator.step());
            ExitCode::FAILURE
        }
    }
}

/// What runs when everything has been told; all of it ends with this.
struct Stage {
    _drayage: Drayage,
    /// A file to source, which sets the variables that the calls were shown with.
    variables: PathBuf,
    cluster: Option<Cluster>,
    _registries: [Registry; 2],
}

/// Lets the reader try calls of their own.
async fn stay_up(stage: &Stage) -> Result<()> {
    let Stage { variables, cluster, .. } = stage;
    println!("\nEverything stays up for calls of your own, until Ctrl-C:");
    println!(". {}   # API, SOURCE, ENTERPRISE, the keys and the passwords", variables.display());
    println!("curl -s \"$API/v1/registries\" -H \"Authorization: Simple $ADMIN_KEY\"");
    if let Some(cluster) = cluster {
        println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        println!("{} -n algorithms get pods -o yaml", cluster.kubectl_path().display());
    }
    interrupted().await
}

/// Ctrl-C, or a polite end.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn tell(narrator: &mut Narrator) -> Result<Stage> {
    narrator.next("Two registries run: the platform's own, and the one where the enterprise scans images");
    let (reader, pusher) = (Login::new("reader")?, Login::new("pusher")?);
    let source = Registry::open().await?;
    let enterprise = Registry::with_logins(vec![reader.clone(), pusher.clone()]).await?;
    println!("SOURCE={}\nENTERPRISE={}", source.host(), enterprise.host());

    narrator.next("Drayage starts: three programs over one embedded database");
    let drayage = Drayage::over(&source).start().await?;
    for service in [&drayage.api, &drayage.syncer, &drayage.webhook] {
        println!("$ {}", service.command_line());
    }
    println!("API={}\nADMIN_KEY=$(cat {})", drayage.api_url()?, drayage.file("admin.key").display());
    let admin = Key { variable: "ADMIN_KEY", value: &drayage.admin_key };

    narrator.next("The platform's build has put an image of two platforms into the source registry");
    let image = Image::two_platforms(Family::Oci)?;
    let repository = format!("algorithms/{OWNER}/{NAME}");
    source.push(&image, &repository, COMMIT).await?;
    println!("$SOURCE/{repository}:{COMMIT}\n{}", image.digest);

    narrator.next("The administrator registers the enterprise's registry, with a login that may only read");
    let registration = json!({
        "name": "enterprise",
        "registry_url": format!("{}/inspected", enterprise.url()),
        "registry_username": reader.username,
        "registry_password": reader.password,
    });
    let call = narrator.call(&drayage, admin, Method::POST, "/v1/registries");
    let registry = call.hide("$READ_PASSWORD", &reader.password).send(Some(&registration)).await?;
    let registry = registry["id"].as_str().context("the registry's id")?.to_owned();

    narrator.next("The owner of the algorithm gets a key");
    let path = format!("/v1/users/{OWNER}/keys");
    let call = narrator.call(&drayage, admin, Method::POST, &path).elide("/api_key", "$OWNER_KEY");
    let key = call.send(Some(&json!({"key_label": "demo"}))).await?;
    let key = key["api_key"].as_str().context("the owner's key")?.to_owned();
    let owner = Key { variable: "OWNER_KEY", value: &key };

    narrator.next("The owner creates the algorithm");
    let path = format!("/v1/algorithms/{OWNER}");
    let algorithm = json!({"name": NAME, "details": {"label": "Primes"}, "settings": {}});
    narrator.call(&drayage, owner, Method::POST, &path).send(Some(&algorithm)).await?;

    narrator.next("Compile records the version and pushes its image, with the login that may write");
    let path = format!("/v1/algorithms/{OWNER}/{NAME}");
    let credentials = json!({
        "registry_id": registry,
        "registry_username": pusher.username,
        "registry_password": pusher.password,
    });
    let body = json!({"commitSha": COMMIT, "registry_push_credentials": credentials});
    let compile = format!("{path}/compile");
    let call = narrator.call(&drayage, owner, Method::POST, &compile);
    call.hide("$PUSH_PASSWORD", &pusher.password).send(Some(&body)).await?;

    narrator.next("The push is proven when the registry gives the image back to the reading login");
    let status = format!("{path}/versions/{COMMIT}/registry");
    let call = narrator.call(&drayage, owner, Method::GET, &status);
    call.until(|statuses| statuses[0]["status"] == "succeeded").await?;

    narrator.next("The image in the enterprise's registry is the source's, byte for byte");
    let inspected = format!("inspected/{repository}");
    enterprise.holds(&image, &inspected, COMMIT).await?;
    println!("$ENTERPRISE/{inspected}:{COMMIT}\n{}", image.digest);

    narrator.next("Publish gives the version its number");
    let publish = format!("{path}/version");
    let body = json!({"version_info": {"version_type": "minor"}});
    narrator.call(&drayage, owner, Method::POST, &publish).send(Some(&body)).await?;

    narrator.next("A pod is created that names the source; what runs comes from where it was inspected");
    let expected = format!("{}/{inspected}:{COMMIT}", enterprise.host());
    let cluster =
        pod::create(&drayage, &format!("{}/{repository}:{COMMIT}", source.host()), &expected).await?;
    let variables = drayage.file("variables.sh");
    let text = format!(
        "API={}\nSOURCE={}\nENTERPRISE={}\nADMIN_KEY={}\nOWNER_KEY={key}\nREGISTRY={registry}\n\
         READ_PASSWORD={}\nPUSH_PASSWORD={}\n",
        drayage.api_url()?,
        source.host(),
        enterprise.host(),
        drayage.admin_key,
        reader.password,
        pusher.password,
    );
    std::fs::write(&variables, text)?;
    Ok(Stage { _drayage: drayage, variables, cluster, _registries: [source, enterprise] })
}
