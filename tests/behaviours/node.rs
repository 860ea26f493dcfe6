//! Row A10's proof: containers that run on a real node, pulled by kubelet from the enterprise's
//! registry with its login, while the source registry is gone.

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::image::Image;
use harness::node::{Node, prove};
use harness::scene::Scene;
use serde_json::{Value, json};

const NAMESPACE: &str = "runners";
/// The tag of the image that runs, in the source registry.
const TAG: &str = "runs";

/// A node, and a scene whose pushed image runs.
struct Stage {
    node: Node,
    scene: Scene,
    image: Image,
    /// The reference that a pod's author writes.
    written: String,
    /// The image in the enterprise's registry, by digest.
    routed: String,
}

impl Stage {
    async fn set() -> Result<Self> {
        let (node, mut scene) = tokio::try_join!(Node::start(), Scene::start())?;
        // Unlike the image that pods are made of, which runs the same program.
        let image = Image::builder().program()?.label("algorithm", "primes").finish()?;
        let repository = scene.algorithm.repository();
        scene.source.push(&image, &repository, TAG).await?;
        let push = json!({"commitSha": TAG, "registry_push_credentials": {"registry_id": scene.registry}});
        let hash = scene.drayage.compile(&scene.algorithm, &push).await?;
        scene.drayage.pushed(&scene.algorithm, &hash, &scene.registry).await?;
        let pod = scene.pod(NAMESPACE, &format!(":{hash}"));
        eventually("the route", async || {
            let pod = scene.drayage.admit(&pod).await?.pod;
            ensure!(pod["spec"]["containers"][0]["imagePullPolicy"] == "Always", "{pod}");
            Ok(())
        })
        .await?;
        scene.source.stop();
        let written = format!("{}/{repository}:{hash}", scene.source.host());
        let routed = scene.routed(&format!("@{}", image.digest));
        let cluster = &node.cluster;
        cluster.register_webhook(&scene.drayage.webhook_url()?, scene.drayage.authority.pem()).await?;
        cluster.namespace(NAMESPACE).await?;
        node.pull_secret(NAMESPACE, &scene.enterprise, &scene.reader).await?;
        Ok(Self { node, scene, image, written, routed })
    }

    /// Checks that a container runs the enterprise's image.
    async fn runs(&self, label: &str, container: &str) -> Result<()> {
        let status = self.node.runs(NAMESPACE, label, container).await?;
        ensure!(status["imageID"] == self.routed, "{status} instead of {}", self.routed);
        Ok(())
    }
}

/// An object of a kind whose pods are made from a template.
fn workload(api: &str, kind: &str, spec: &Value) -> Value {
    let name = kind.to_lowercase();
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

/// A template whose pods carry the label `run=NAME`.
fn template(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"labels": {"run": name}}, "spec": spec})
}

/// What Deployments and their like say: a template and its own label.
fn of_template(name: &str, spec: &Value) -> Value {
    json!({"selector": {"matchLabels": {"run": name}}, "template": template(name, spec)})
}

#[test]
fn deployment_runs_from_the_enterprises_registry_while_the_source_is_gone() {
    prove(async {
        let stage = Stage::set().await?;
        let spec = json!({"containers": [{"name": "algorithm", "image": stage.written}]});
        let deployment = workload("apps/v1", "Deployment", &of_template("deployment", &spec));
        stage.node.cluster.create(&deployment).await?;
        stage.runs("run=deployment", "algorithm").await?;
        let requests = stage.scene.enterprise.requests();
        let reader = &stage.scene.reader.username;
        let pulled = format!("/v2/{}/manifests/{}", stage.scene.repository(), stage.image.digest);
        ensure!(requests.iter().any(|made| made.uri == pulled && made.user == *reader), "{requests:?}");
        Ok(())
    });
}

#[test]
fn every_kind_that_carries_an_image_runs_from_the_enterprises_registry() {
    prove(async {
        let stage = Stage::set().await?;
        let (cluster, image) = (&stage.node.cluster, &stage.written);
        let waits = json!({"containers": [{"name": "algorithm", "image": image}]});
        let ends = json!({
            "restartPolicy": "Never",
            "containers": [{"name": "algorithm", "image": image, "args": ["end"]}],
        });
        let job = json!({"template": template("job", &ends)});
        // Due at the next full minute, so it is made first and looked at last.
        let cron_job = json!({
            "schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": template("cronjob", &ends)}},
        });
        let kinds = [
            workload("batch/v1", "CronJob", &cron_job),
            workload("batch/v1", "Job", &job),
            workload("apps/v1", "Deployment", &of_template("deployment", &waits)),
            workload("apps/v1", "StatefulSet", &of_template("statefulset", &waits)),
            workload("apps/v1", "DaemonSet", &of_template("daemonset", &waits)),
        ];
        for object in &kinds {
            cluster.create(object).await?;
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod", "namespace": NAMESPACE, "labels": {"run": "pod"}},
            "spec": {
                "initContainers": [
                    {"name": "before", "image": image, "args": ["end"]},
                    {"name": "sidecar", "image": image, "restartPolicy": "Always"},
                ],
                "containers": [{"name": "algorithm", "image": image}],
            },
        });
        cluster.create(&pod).await?;
        for container in ["before", "sidecar", "algorithm"] {
            stage.runs("run=pod", container).await?;
        }
        let image = format!("--image={image}");
        let debug = ["debug", "-n", NAMESPACE, "pod", &image, "-c", "debugger", "--attach=false"];
        cluster.kubectl(&debug).await?;
        stage.runs("run=pod", "debugger").await?;
        for kind in ["job", "deployment", "statefulset", "daemonset", "cronjob"] {
            stage.runs(&format!("run={kind}"), "algorithm").await?;
        }
        Ok(())
    });
}
