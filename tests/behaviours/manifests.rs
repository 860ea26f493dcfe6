//! Every kustomization prints, and what it prints is accepted by a real API server, which gives the
//! service accounts the rights that manifests/README.md lists and no others.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use harness::claim::prove;
use harness::cluster::Cluster;
use serde_json::json;

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
        let cluster = Cluster::start().await?;
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/default");
        cluster.kubectl(&["apply", "-k", &overlay.to_string_lossy()]).await?;
        let needed = [
            (SYNCER, "", ["watch", "", "namespaces", ""]),
            (SYNCER, "runners", ["create", "", "secrets", ""]),
            (SYNCER, "", ["watch", "", "secrets", "drayage-registries"]),
            (SYNCER, "runners", ["patch", "", "secrets", "drayage-registries"]),
            (SYNCER, "runners", ["delete", "", "secrets", "drayage-registries"]),
            (SYNCER, "", ["watch", "", "pods", ""]),
            (SYNCER, "runners", ["create", "events.k8s.io", "events", ""]),
            (WEBHOOK, "drayage", ["create", "", "secrets", ""]),
            (WEBHOOK, "drayage", ["update", "", "secrets", "drayage-tls"]),
            (WEBHOOK, "drayage", ["update", "", "secrets", "drayage-authority"]),
            (WEBHOOK, "", ["patch", ADMISSION, REGISTRATIONS, "drayage"]),
        ];
        for (account, namespace, what) in needed {
            ensure!(may(&cluster, account, namespace, what).await?, "{account} may not {what:?}");
        }
        let excessive = [
            (SYNCER, "", ["list", "", "secrets", ""]),
            (SYNCER, "runners", ["get", "", "secrets", "another"]),
            (SYNCER, "drayage", ["get", "", "secrets", "drayage-keys"]),
            (SYNCER, "runners", ["delete", "", "pods", "runner"]),
            (SYNCER, "", ["patch", "", "namespaces", "runners"]),
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
