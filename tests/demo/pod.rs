//! The last step: a pod is created through a real API server where one is built or on PATH, else
//! by posting the review that it would send.

use anyhow::{Result, ensure};
use harness::claim::{Missing, eventually};
use harness::cluster::Cluster;
use harness::services::Drayage;
use serde_json::{Value, json};

/// Creates a pod that names `image`, and checks that it would be pulled as `expected`.
pub(crate) async fn create(drayage: &Drayage, image: &str, expected: &str) -> Result<Option<Cluster>> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "runner", "namespace": "algorithms"},
        "spec": {"containers": [{"name": "algorithm", "image": image, "imagePullPolicy": "IfNotPresent"}]},
    });
    let cluster = match Cluster::start().await {
        Ok(cluster) => Some(cluster),
        Err(error) if error.is::<Missing>() => {
            println!("(no API server here: {error})");
            None
        }
        Err(error) => return Err(error),
    };
    println!("the pod as it is written names {image}");
    let stored = match &cluster {
        Some(cluster) => through_server(drayage, cluster, &pod).await?,
        None => {
            println!("$ curl -s --cacert CA \"{}\" -d @review.json", drayage.webhook_url()?);
            // The route is visible within half a second of the push's commit.
            let routed = eventually("the route", async || {
                let stored = drayage.admit(&pod).await?.pod;
                ensure!(stored["spec"]["containers"][0]["image"] == expected, "{stored}");
                Ok(stored)
            });
            routed.await?
        }
    };
    let shown = json!({
        "annotations": stored["metadata"]["annotations"],
        "image": stored["spec"]["containers"][0]["image"],
        "imagePullPolicy": stored["spec"]["containers"][0]["imagePullPolicy"],
    });
    println!("{}", serde_json::to_string_pretty(&shown)?);
    ensure!(shown["image"] == expected, "the pod does not name {expected}");
    ensure!(shown["imagePullPolicy"] == "Always", "the pod's image may be taken from the node's cache");
    Ok(cluster)
}

async fn through_server(drayage: &Drayage, cluster: &Cluster, pod: &Value) -> Result<Value> {
    println!("$ kubectl apply -f webhook-configuration.json");
    cluster.register_webhook(&drayage.webhook_url()?, drayage.authority.pem()).await?;
    println!("$ kubectl create namespace algorithms");
    println!("$ kubectl label namespace algorithms drayage.dev/runners=enabled");
    cluster.namespace("algorithms").await?;
    println!("$ kubectl create -f pod.json");
    cluster.create(pod).await
}
