//! Every kustomization prints, and what it prints is accepted by a real API server, which gives the
//! service accounts the rights that manifests/README.md lists and no others.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::Cluster;
use serde_json::{Value, json};

use crate::certificates::applied;

fn kustomizations() -> Result<Vec<PathBuf>> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let overlays = std::fs::read_dir(manifests.join("overlays"))?;
    let overlays = overlays.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok([vec![manifests.join("base")], overlays].concat())
}

#[test]
fn manifests_are_accepted_by_an_api_server() {
    prove(async {
        let cluster = Cluster::start().await?;
        cluster.know_cert_manager().await?;
        for folder in kustomizations()? {
            let folder = folder.to_string_lossy();
            let printed = cluster.kubectl(&["kustomize", &folder]).await?;
            ensure!(printed.contains("kind: MutatingWebhookConfiguration"), "{printed}");
            let apply = ["apply", "--server-side", "--warnings-as-errors", "-k", &folder];
            cluster.kubectl(&apply).await?;
            let again = cluster.kubectl(&apply).await?;
            ensure!(again.contains("serverside-applied"), "{again}");
        }
        Ok(())
    });
}

/// Whether a service account of the manifests may do something: a verb, a group, a resource and a name.
async fn may(cluster: &Cluster, account: &str, namespace: &str, what: [&str; 4]) -> Result<bool> {
    let [verb, group, resource, name] = what;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:drayage:{account}"),
            "groups": ["system:serviceaccounts", "system:serviceaccounts:drayage", "system:authenticated"],
            "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name,
            },
        },
    });
    Ok(cluster.create(&review).await?["status"]["allowed"] == true)
}

#[test]
fn service_accounts_may_do_what_they_need_and_no_more() {
    const SYNCER: &str = "drayage";
    const WEBHOOK: &str = "drayage-webhook";
    const REGISTRATIONS: &str = "mutatingwebhookconfigurations";
    const ADMISSION: &str = "admissionregistration.k8s.io";
    prove(async {
        let cluster = applied("default").await?;
        let needed = [
            (SYNCER, "drayage", ["create", "", "secrets", "drayage-keys"]),
            (SYNCER, "drayage", ["get", "", "secrets", "drayage-keys"]),
            (SYNCER, "drayage", ["get", "", "secrets", "drayage-routes"]),
            (WEBHOOK, "drayage", ["create", "", "secrets", "drayage-authority"]),
            (WEBHOOK, "drayage", ["update", "", "secrets", "drayage-tls"]),
            (WEBHOOK, "drayage", ["update", "", "secrets", "drayage-authority"]),
            (WEBHOOK, "drayage", ["get", "", "secrets", "drayage-routes"]),
            (WEBHOOK, "", ["patch", ADMISSION, REGISTRATIONS, "drayage"]),
        ];
        for (account, namespace, what) in needed {
            ensure!(may(&cluster, account, namespace, what).await?, "{account} may not {what:?}");
        }
        let excessive = [
            (SYNCER, "drayage", ["create", "", "secrets", ""]),
            (SYNCER, "drayage", ["create", "", "secrets", "another"]),
            (SYNCER, "drayage", ["patch", "", "secrets", "another"]),
            (WEBHOOK, "drayage", ["create", "", "secrets", ""]),
            (WEBHOOK, "drayage", ["create", "", "secrets", "another"]),
            (WEBHOOK, "drayage", ["create", "", "secrets", "drayage-keys"]),
            (WEBHOOK, "drayage", ["patch", "", "secrets", "drayage-keys"]),
            (SYNCER, "drayage", ["delete", "", "secrets", "drayage-keys"]),
            (SYNCER, "drayage", ["update", "", "secrets", "drayage-keys"]),
            (SYNCER, "drayage", ["get", "", "secrets", "drayage-authority"]),
            (SYNCER, "drayage", ["list", "", "secrets", ""]),
            (SYNCER, "runners", ["create", "", "secrets", ""]),
            (SYNCER, "runners", ["get", "", "pods", "runner"]),
            (WEBHOOK, "drayage", ["get", "", "secrets", "drayage-keys"]),
            (WEBHOOK, "drayage", ["list", "", "secrets", ""]),
            (WEBHOOK, "runners", ["create", "", "secrets", ""]),
            (WEBHOOK, "runners", ["get", "", "pods", "runner"]),
            (WEBHOOK, "", ["patch", ADMISSION, REGISTRATIONS, "another"]),
            (WEBHOOK, "", ["delete", ADMISSION, REGISTRATIONS, "drayage"]),
        ];
        for (account, namespace, what) in excessive {
            ensure!(!may(&cluster, account, namespace, what).await?, "{account} may {what:?}");
        }
        Ok(())
    });
}

fn pod(name: &str, labels: &Value, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "runners", "labels": labels},
        "spec": {"containers": [{"name": "runner", "image": image}]},
    })
}

/// Waits until a pod is refused, because of this.
async fn refused(cluster: &Cluster, pod: &Value, because: &str) -> Result<()> {
    // The server takes a moment to hear of a policy; a pod that came through is taken away again.
    eventually("a refusal", async || {
        let Err(refusal) = cluster.create(pod).await else {
            let name = |key: &str| pod["metadata"][key].as_str().context("a name");
            let (pod, namespace) = (name("name")?, name("namespace")?);
            cluster.kubectl(&["delete", "pod", "-n", namespace, pod, "--grace-period=0", "--force"]).await?;
            anyhow::bail!("it was stored");
        };
        ensure!(format!("{refusal:#}").contains(because), "{refusal:#}");
        Ok(())
    })
    .await
}

/// An image of the registry that the overlays name.
const SOURCE_IMAGE: &str = "registry.platform.example/algorithms/ada/primes:1";

#[test]
fn pod_of_a_shared_namespace_names_the_source_registry_only_with_its_label() {
    prove(async {
        let cluster = applied("shared-namespaces").await?;
        let runner = json!({"app.kubernetes.io/component": "algorithm-runner"});
        refused(&cluster, &pod("secret", &json!({}), SOURCE_IMAGE), "needs the label").await?;
        refused(&cluster, &pod("labelled", &runner, SOURCE_IMAGE), "pods.drayage.dev").await?;
        // A pod that was there before can still be labelled and let go.
        cluster.kubectl(&["create", "namespace", "old"]).await?;
        let mut old = pod("old", &json!({}), SOURCE_IMAGE);
        old["metadata"]["namespace"] = "old".into();
        cluster.create(&old).await?;
        cluster.kubectl(&["label", "namespace", "old", "drayage.dev/runners=enabled"]).await?;
        let mut new = old.clone();
        new["metadata"]["name"] = "new".into();
        refused(&cluster, &new, "needs the label").await?;
        cluster.kubectl(&["label", "pod", "-n", "old", "old", "touched=yes"]).await?;
        // A container that runs before the others or is added later is no way round it.
        let other = pod("other", &json!({}), "registry.platform.example.org/redis:7");
        let mut before = other.clone();
        before["spec"]["initContainers"] = json!([{"name": "before", "image": SOURCE_IMAGE}]);
        refused(&cluster, &before, "needs the label").await?;
        cluster.create(&other).await?;
        let image = format!("--image={SOURCE_IMAGE}");
        let debug = ["debug", "-n", "runners", "other", &image, "-c", "debugger", "--attach=false"];
        let refusal = cluster.kubectl(&debug).await.err().context("a debugger of the source registry")?;
        ensure!(format!("{refusal:#}").contains("needs the label"), "{refusal:#}");
        // Taken away and made again it refuses the same pods, and no others.
        let objects =
            ["validatingadmissionpolicybinding", "validatingadmissionpolicy", "mutatingwebhookconfiguration"];
        cluster.kubectl(&["delete", &objects.join(","), "drayage"]).await?;
        cluster.kubectl(&["delete", "configmap", "-n", "drayage", "drayage"]).await?;
        eventually("the policy to be forgotten", async || {
            let mut gone = pod("gone", &json!({}), SOURCE_IMAGE);
            gone["metadata"]["generateName"] = "gone-".into();
            cluster.create(&gone).await.map(drop)
        })
        .await?;
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/shared-namespaces");
        let overlay = overlay.to_str().context("a path in UTF-8")?;
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", overlay]).await?;
        refused(&cluster, &pod("secret", &json!({}), SOURCE_IMAGE), "needs the label").await?;
        let mut again = other;
        again["metadata"]["name"] = "again".into();
        cluster.create(&again).await?;
        Ok(())
    });
}

#[test]
fn overlay_that_fails_open_stores_pods_while_no_webhook_answers() {
    prove(async {
        let (closed, open) = tokio::try_join!(applied("default"), applied("fail-open"))?;
        let pod = pod("runner", &json!({}), SOURCE_IMAGE);
        refused(&closed, &pod, "pods.drayage.dev").await?;
        let stored = open.create(&pod).await?;
        ensure!(stored["spec"]["containers"][0]["image"] == SOURCE_IMAGE, "{stored}");
        Ok(())
    });
}
