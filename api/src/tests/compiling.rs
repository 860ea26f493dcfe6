//! Claims about compile, over a real docker-registry. Without one they are skipped by name; with
//! `CI=true` that is a failure.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use distribution::{Blob, Manifest, ManifestRef, Registry, Transport};
use domain::reference::{Digest, Repository};
use futures_util::future::ready;
use futures_util::stream;
use serde_json::{Value, json};
use sha2::Digest as _;
use tempfile::TempDir;

use super::House;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REVISION: &str = "org.opencontainers.image.revision";
const OCI: &str = "application/vnd.oci.image";

/// A docker-registry with its storage in a folder of its own.
struct SourceRegistry {
    child: Child,
    url: String,
    _folder: TempDir,
    client: Registry,
}

impl Drop for SourceRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SourceRegistry {
    fn start() -> Option<Self> {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config.yml");
        let root = folder.path().display();
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n"
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            let name = std::thread::current().name().unwrap_or("a claim").to_owned();
            assert!(std::env::var("CI").as_deref() != Ok("true"), "docker-registry is missing");
            eprintln!("skipped {name}: needs docker-registry: apt-get install docker-registry");
            return None;
        };
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let address = lines.find_map(|line| {
            let line = line.expect("a line");
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(['"', ',']).next().map(str::to_owned)
        });
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{}", address.expect("its address"));
        let transport = Transport::new(None).expect("a transport");
        let client = Registry::new(&transport, url.parse().expect("an address"), None);
        Some(Self { child, url, _folder: folder, client })
    }

    async fn blob(&self, repository: &Repository, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let blob = Blob { digest: digest.clone(), size: bytes.len() as u64 };
        let size = bytes.len();
        let body = |_| ready(Ok(stream::iter([Ok::<_, Infallible>(bytes.clone().into())])));
        self.client.upload(repository, None, &blob, body).await.expect("uploaded");
        json!({"mediaType": format!("{OCI}.config.v1+json"), "digest": digest.to_string(), "size": size})
    }

    async fn put(&self, repository: &Repository, tag: Option<&str>, manifest: Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let (digest, size) = (digest(&bytes), bytes.len());
        let media_type = manifest["mediaType"].as_str().expect("a media type").to_owned();
        let manifest = Manifest::new(bytes.into(), digest.clone(), None).expect("a manifest");
        let at = match tag {
            Some(tag) => ManifestRef::Tag(tag.parse().expect("a tag")),
            None => ManifestRef::Digest(digest.clone()),
        };
        self.client.put_manifest(repository, &at, &manifest).await.expect("a manifest");
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    }

    /// An image whose configuration carries a revision label.
    async fn image(&self, repository: &str, tag: Option<&str>, revision: Option<&str>, salt: &str) -> Value {
        let repository = repository.parse().expect("a repository");
        let labels = revision.map(|revision| json!({REVISION: revision}));
        let config =
            json!({"architecture": "amd64", "os": "linux", "config": {"Labels": labels}, "salt": salt});
        let config = self.blob(&repository, config.to_string().into_bytes()).await;
        let media_type = format!("{OCI}.manifest.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []});
        self.put(&repository, tag, manifest).await
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

async fn compiled(house: &House, key: &str, body: Value) -> Value {
    house.call("POST /v1/algorithms/ann/echo/compile", key, body).await.ok()
}

#[tokio::test]
async fn a_version_is_named_by_the_label_then_the_commit_then_the_digest() {
    let Some(source) = SourceRegistry::start() else { return };
    let house = House::beside(&source.url).await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "Ann", "Echo").await;
    let repository = "algorithms/ann/echo";

    source.image(repository, Some("latest"), Some(COMMIT), "1").await;
    let by_label = compiled(&house, &ann, json!({})).await;
    assert_eq!(by_label["version_info"]["git_hash"], COMMIT);
    assert_eq!(by_label["build"]["status"], "succeeded");
    assert!(by_label["compilation"]["output"].as_str().is_some_and(|output| output.contains(COMMIT)));
    let again = compiled(&house, &ann, json!({})).await;
    assert_eq!(again["version_info"]["version_uuid"], by_label["version_info"]["version_uuid"]);
    assert_ne!(again["build"]["build_id"], by_label["build"]["build_id"]);

    source.image(repository, Some("v2"), Some("not a commit"), "2").await;
    let by_commit = compiled(&house, &ann, json!({"commitSha": "v2"})).await;
    assert_eq!(by_commit["version_info"]["git_hash"], "v2");

    let image = source.image(repository, Some("latest"), None, "3").await;
    let by_digest = compiled(&house, &ann, json!({})).await;
    let hash = by_digest["version_info"]["git_hash"].as_str().expect("a hash");
    assert_eq!(image["digest"].as_str().map(|digest| &digest[7..47]), Some(hash));
}

#[tokio::test]
async fn an_index_is_named_by_its_annotation_then_by_its_first_child_for_linux_amd64() {
    let Some(source) = SourceRegistry::start() else { return };
    let house = House::beside(&source.url).await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let repository = "algorithms/ann/echo";

    let mut arm = source.image(repository, None, Some(&"a".repeat(40)), "arm").await;
    arm["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let mut amd = source.image(repository, None, Some(COMMIT), "amd").await;
    amd["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let media_type = format!("{OCI}.index.v1+json");
    let mut index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [arm, amd]});
    let at = repository.parse().expect("a repository");

    source.put(&at, Some("latest"), index.clone()).await;
    let by_child = compiled(&house, &ann, json!({})).await;
    assert_eq!(by_child["version_info"]["git_hash"], COMMIT);

    let annotation = "b".repeat(40);
    index["annotations"] = json!({REVISION: annotation});
    source.put(&at, Some("latest"), index).await;
    let by_annotation = compiled(&house, &ann, json!({})).await;
    assert_eq!(by_annotation["version_info"]["git_hash"], annotation);
}

#[tokio::test]
async fn an_image_that_is_not_there_is_a_failed_build_and_asks_for_no_push() {
    let Some(source) = SourceRegistry::start() else { return };
    let house = House::beside(&source.url).await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let registry = house.registry(json!({"registry_url": "h.example"})).await;
    let body = json!({"commitSha": "v9", "registry_push_credentials": {"registry_id": registry}});
    let failed = compiled(&house, &ann, body).await;
    assert_eq!(
        (&failed["build"]["status"], &failed["build"]["commit_sha"]),
        (&json!("failed"), &json!("v9"))
    );
    let output = failed["compilation"]["output"].as_str().expect("an output");
    assert!(output.contains("algorithms/ann/echo:v9") && output.contains("source_missing"), "{output}");
    let call = format!("DELETE /v1/registries/{registry}?if_unused=true");
    house.raw(&call, &house.admin, "").await.ok();
}

#[tokio::test]
async fn a_compile_asks_for_the_push_that_comes_with_it() {
    let Some(source) = SourceRegistry::start() else { return };
    let house = House::beside(&source.url).await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    source.image("algorithms/ann/echo", Some("latest"), Some(COMMIT), "1").await;
    let registry = house.registry(json!({"registry_url": "h.example/team"})).await;
    let push = json!({"registry_id": registry, "registry_username": "u", "registry_password": "hunter2"});
    let made = compiled(&house, &ann, json!({"registry_push_credentials": push})).await;
    let status = &made["build"]["registry_status"];
    let image = format!("h.example/team/algorithms/ann/echo:{COMMIT}");
    assert_eq!((&status["status"], &status["image"]), (&json!("pending"), &json!(image)));
    assert!(!made.to_string().contains("hunter2"));
}
