//! Containers that run on a real node, pulled by kubelet from the enterprise's registry with its login,
//! while the source registry is gone: whatever can carry an image.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::image::Image;
use harness::node::{Injector, Stage, of_template, prove, template, workload};
use serde_json::{Value, json};

const NAMESPACE: &str = Stage::NAMESPACE;

fn pod(name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": {"run": name}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

#[test]
fn whatever_carries_an_image_runs_from_the_enterprises_registry_while_the_source_is_gone() {
    prove(async {
        let mut stage = Stage::set().await?;
        let model = Image::builder().program()?.label("algorithm", "model").finish()?;
        let model_written = stage.push(&model, "model").await?;
        kinds(&stage).await?;
        debugger(&stage).await?;
        volume(&stage, &model, &model_written).await?;
        injected(&stage).await
    });
}

/// Every kind that makes pods, and every list of a pod that names an image from its beginning.
async fn kinds(stage: &Stage) -> Result<()> {
    let image = &stage.written;
    let waits = json!({"containers": [{"name": "algorithm", "image": image}]});
    let ends = json!({
        "restartPolicy": "Never",
        "containers": [{"name": "algorithm", "image": image, "args": ["/program"]}],
    });
    let job = json!({"template": template("job", &ends)});
    // Due at the next full minute, so it is made first and looked at last.
    let cron_job = json!({
        "schedule": "* * * * *",
        "jobTemplate": {"spec": {"template": template("cronjob", &ends)}},
    });
    let every_list = json!({
        "initContainers": [
            {"name": "before", "image": image, "args": ["/program"]},
            {"name": "sidecar", "image": image, "restartPolicy": "Always"},
        ],
        "containers": [{"name": "algorithm", "image": image}],
    });
    let objects = [
        workload("batch/v1", "CronJob", &cron_job),
        workload("batch/v1", "Job", &job),
        workload("apps/v1", "Deployment", &of_template("deployment", &waits)),
        workload("apps/v1", "StatefulSet", &of_template("statefulset", &waits)),
        workload("apps/v1", "DaemonSet", &of_template("daemonset", &waits)),
        pod("pod", &every_list),
    ];
    for object in &objects {
        stage.node.cluster.create(object).await?;
    }
    for container in ["before", "sidecar", "algorithm"] {
        stage.runs("run=pod", container).await?;
    }
    for kind in ["job", "deployment", "statefulset", "daemonset", "cronjob"] {
        stage.runs(&format!("run={kind}"), "algorithm").await?;
    }
    stage.pulled(&stage.image)
}

/// A container that joins a pod which runs.
async fn debugger(stage: &Stage) -> Result<()> {
    let image = format!("--image={}", stage.written);
    let debug = ["debug", "-n", NAMESPACE, "pod", &image, "-c", "debugger", "--attach=false"];
    stage.node.cluster.kubectl(&debug).await?;
    stage.runs("run=pod", "debugger").await
}

/// An image that is no container's, but a volume of one: it ends well if it finds a file there.
async fn volume(stage: &Stage, model: &Image, written: &str) -> Result<()> {
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [{
            "name": "algorithm",
            "image": stage.written,
            "args": ["/model/program"],
            "volumeMounts": [{"name": "model", "mountPath": "/model"}],
        }],
        "volumes": [{"name": "model", "image": {"reference": written}}],
    });
    stage.node.cluster.create(&pod("volume", &spec)).await?;
    stage.runs("run=volume", "algorithm").await?;
    stage.pulled(model)
}

/// A container that another webhook adds after ours has been asked.
async fn injected(stage: &Stage) -> Result<()> {
    let cluster = &stage.node.cluster;
    let _injector = Injector::start(cluster, NAMESPACE, &stage.written).await?;
    let other = json!({"containers": [{"name": "algorithm", "image": stage.written}]});
    cluster.create(&pod("with-injected", &other)).await?;
    stage.runs("run=with-injected", "algorithm").await?;
    stage.runs("run=with-injected", Injector::CONTAINER).await
}

#[test]
fn deployment_runs_what_was_published_ten_seconds_ago() {
    prove(async {
        let mut stage = Stage::set().await?;
        let image = Image::builder().program()?.label("algorithm", "published").finish()?;
        let scene = &mut stage.scene;
        scene.source.restart().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        scene.source.push(&image, &algorithm.repository(), "published").await?;
        let hash = drayage.compile(algorithm, &json!({"commitSha": "published"})).await?;

        let published = Instant::now();
        drayage.publish(algorithm, &json!({"registry_push_credentials": scene.own_credentials()})).await?;
        drayage.pushed(algorithm, &hash, &scene.registry).await?;
        let pod = scene.pod(NAMESPACE, &format!(":{hash}"));
        let routed = scene.routed(&format!(":{hash}"));
        eventually("the route", async || {
            let pod = drayage.admit(&pod).await?.pod;
            ensure!(pod["spec"]["containers"][0]["image"] == routed, "{pod}");
            Ok(())
        })
        .await?;
        let deployment = of_template("published", &pod["spec"]);
        stage.node.cluster.create(&workload("apps/v1", "Deployment", &deployment)).await?;
        let status = stage.node.runs(NAMESPACE, "run=published", "runner").await?;
        let took = published.elapsed();
        ensure!(status["imageID"] == scene.routed(&format!("@{}", image.digest)), "{status}");
        ensure!(took <= Duration::from_secs(10), "it took {took:?}");
        stage.pulled(&image)
    });
}
