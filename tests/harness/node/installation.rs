//! Installs Drayage on a node as manifests/README.md tells an administrator to: an overlay and, where
//! that asks for it, a certificate; nothing else. Its image holds the programs of the running test; `behaviours::image` says
//! what the image that `make image` builds is like.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Node;
use crate::certificates::Authority;
use crate::image::Image;
use crate::process::{self, binary};
use crate::registry::Registry;

const PROGRAMS: [&str; 3] = ["drayage-api", "drayage-syncer", "drayage-webhook"];
const NAMESPACE: &str = "drayage";
/// Whom the manifests run everything as.
const USER: u32 = 65532;

/// A Drayage that was installed from an overlay.
#[derive(Debug)]
pub struct Installation {
    /// Whom the certificates come from, where they are the administrator's.
    issuer: Authority,
    folder: TempDir,
}

impl Installation {
    /// Applies an overlay with its image and its source registry set, on a node with a volume to give.
    pub async fn apply(node: &Node, overlay: &str, source: &Registry) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let image = push_programs(node).await?;
        let kustomization = folder.path().join("kustomization.yaml");
        fs::write(kustomization, set(overlay, &image, &source.url()).to_string())?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let mut copy = Command::new("cp");
        copy.arg("--recursive").args([&manifests, &folder.path().join("manifests")]);
        process::output(copy).await?;
        let installation = Self { issuer: Authority::new()?, folder };
        node.cluster.create(&installation.volume()?).await?;
        if overlay == "cert-manager" {
            node.cluster.know_cert_manager().await?;
        }
        installation.kubectl(node, "apply").await?;
        // Whoever issues them: the administrator, or cert-manager, which a test has no place for.
        if ["single", "own-certificates", "cert-manager"].contains(&overlay) {
            installation.certify(node).await?;
        }
        Ok(installation)
    }

    /// Takes everything away again that was applied.
    pub async fn remove(&self, node: &Node) -> Result<()> {
        self.kubectl(node, "delete").await
    }

    async fn kubectl(&self, node: &Node, verb: &str) -> Result<()> {
        let path = self.folder.path().to_str().context("a path in UTF-8")?;
        node.cluster.kubectl(&[verb, "-k", path]).await?;
        Ok(())
    }

    /// Gives it a certificate, and the API server its authority.
    pub async fn certify(&self, node: &Node) -> Result<()> {
        let names = ["drayage-api.drayage.svc", "drayage-webhook.drayage.svc"];
        let pair = self.issuer.write_pair_for(self.folder.path(), &names)?;
        let (chain, key) = (fs::read_to_string(pair.chain)?, fs::read_to_string(pair.key)?);
        let tls = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "drayage-tls", "namespace": NAMESPACE},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": chain, "tls.key": key, "ca.crt": self.issuer.pem()},
        });
        node.cluster.create(&tls).await?;
        let bundle = BASE64.encode(self.issuer.pem());
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
        let patch =
            ["patch", "mutatingwebhookconfiguration", "drayage", "--type=json", "-p", &patch.to_string()];
        node.cluster.kubectl(&patch).await?;
        Ok(())
    }

    /// The first admin key, as an administrator gets at it.
    pub async fn admin_key(&self, node: &Node) -> Result<String> {
        let secret = node.cluster.get(&["get", "secret", "-n", NAMESPACE, "drayage-keys"]).await?;
        let key = BASE64.decode(secret["data"]["admin.key"].as_str().context("an admin key")?)?;
        Ok(String::from_utf8(key)?)
    }

    /// Waits until every replica of a Deployment is ready.
    pub async fn ready(&self, node: &Node, deployment: &str) -> Result<()> {
        let deployment = format!("deployment/{deployment}");
        let wait = ["rollout", "status", &deployment, "-n", NAMESPACE, "--timeout=120s"];
        let waited = node.cluster.kubectl(&wait).await;
        if waited.is_err() {
            let pods = node.cluster.kubectl(&["describe", "pods", "-n", NAMESPACE]).await?;
            return waited.map(drop).context(pods);
        }
        Ok(())
    }

    /// Whom to trust when calling the api, once somebody has made its certificate.
    pub async fn authority(&self, node: &Node) -> Result<Vec<u8>> {
        let secret = node.cluster.get(&["get", "secret", "-n", NAMESPACE, "drayage-tls"]).await?;
        let authority = secret["data"]["ca.crt"].as_str().context("an authority")?;
        Ok(BASE64.decode(authority)?)
    }

    /// Everything that its programs have logged.
    pub async fn log(&self, node: &Node) -> Result<String> {
        let every = [
            "logs",
            "-n",
            NAMESPACE,
            "-l",
            "app.kubernetes.io/name in (drayage,drayage-webhook)",
            "--all-containers",
        ];
        node.cluster.kubectl(&[&every[..], &["--tail=-1", "--prefix"]].concat()).await
    }

    /// A folder of the node, where a cluster would have a provisioner.
    fn volume(&self) -> Result<Value> {
        let path = self.folder.path().join("volume");
        fs::create_dir(&path)?;
        std::os::unix::fs::chown(&path, Some(USER), Some(USER))?;
        Ok(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "drayage"},
            "spec": {
                "capacity": {"storage": "2Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": path},
            },
        }))
    }
}

/// The overlay with the two things set that its kustomization says to set.
fn set(overlay: &str, image: &str, source: &str) -> Value {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "drayage", "namespace": NAMESPACE},
        "data": {"DRAYAGE_SOURCE_REGISTRY": source},
    });
    json!({
        "resources": [format!("manifests/overlays/{overlay}")],
        "sortOptions": {"order": "fifo"},
        "images": [{"name": "registry.example/drayage", "newName": name, "newTag": tag}],
        "patches": [{"patch": config.to_string()}],
    })
}

/// Puts the programs and the libraries that they load into an image that the node can pull.
async fn push_programs(node: &Node) -> Result<String> {
    let root = tempfile::tempdir()?;
    let programs = root.path().join("usr/local/bin");
    fs::create_dir_all(&programs)?;
    for program in PROGRAMS {
        let built = binary(program)?;
        let mut strip = Command::new("strip");
        strip.arg("-o").args([&programs.join(program), &built]);
        process::output(strip).await?;
        let mut needs = Command::new("ldd");
        needs.arg(&built);
        for library in process::output(needs).await?.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.path().join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().context("a folder")?)?;
            fs::copy(library, copy)?;
        }
    }
    let config = json!({"Env": ["PATH=/usr/local/bin"], "User": format!("{USER}:{USER}")});
    let image = Image::builder().root(root.path(), config)?.finish()?;
    node.images.push(&image, "drayage", "of-a-test").await?;
    Ok(format!("{}/drayage:of-a-test", node.images.host()))
}
