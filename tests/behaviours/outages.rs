//! The table "When something is gone" of docs/operations.md: what becomes of new pods, pushes and statuses,
//! through a real API server that calls the webhook. `installation`, its `losses` and
//! `upgrade` take away pods and nodes.

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::cluster::{Administrator, Cluster};
use harness::node;
use harness::scene::{COMMIT, Scene};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::certificates::{self, HEALED_WITHIN, LEAF, called_at};

/// A version that was pushed, and an API server that has pods admitted.
struct Stage {
    cluster: Cluster,
    scene: Scene,
    administrator: Administrator,
}

impl Stage {
    async fn set() -> Result<Self> {
        let (cluster, scene) = certificates::stage().await?;
        let administrator = cluster.administrator()?;
        let stage = Self { cluster, scene, administrator };
        eventually("the first pod", async || stage.pod_is_routed().await).await?;
        Ok(stage)
    }

    /// Creates a pod of the pushed version.
    async fn create(&self, namespace: &str) -> Result<(StatusCode, Value)> {
        let mut pod = self.scene.pod(namespace, &format!(":{COMMIT}"));
        pod["metadata"] = json!({"generateName": "runner-", "namespace": namespace});
        self.administrator.post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await
    }

    async fn pod_is_routed(&self) -> Result<()> {
        let (status, pod) = self.create("runners").await?;
        let routed = self.scene.routed(&format!(":{COMMIT}"));
        ensure!(pod["spec"]["containers"][0]["image"] == routed.as_str(), "{status}: {pod}");
        Ok(())
    }

    /// Asks for the push once more.
    async fn ask_again(&self) -> Result<u16> {
        let Scene { drayage, algorithm, .. } = &self.scene;
        let path = algorithm.path(&format!("/versions/{COMMIT}/registry"));
        let body = json!({"registry_id": self.scene.registry});
        Ok(drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?.status)
    }

    async fn status(&self) -> Result<Value> {
        let Scene { drayage, algorithm, registry, .. } = &self.scene;
        drayage.status(algorithm, COMMIT, registry).await
    }

    async fn push_is(&self, expected: &str) -> Result<Value> {
        eventually(expected, async || {
            let status = self.status().await?;
            ensure!(status["status"] == expected, "{status}");
            Ok(status)
        })
        .await
    }
}

#[test]
fn without_the_database_pods_are_routed_and_nothing_is_promised() {
    prove(async {
        let stage = Stage::set().await?;
        for file in ["drayage.db", "drayage.db-wal", "drayage.db-shm"] {
            std::fs::remove_file(stage.scene.drayage.file(file)).ok();
        }
        let webhook = &stage.scene.drayage.webhook;
        eventually("the webhook's note", async || {
            let (status, text) = webhook.admin("/readyz").await?;
            ensure!(status == 200 && text.contains("may be out of date"), "{status}: {text}");
            Ok(())
        })
        .await?;
        stage.pod_is_routed().await?;
        let asked = stage.ask_again().await?;
        ensure!(asked == 503, "{asked}");
        // Another one would have to load the routes first.
        let anew = webhook.beside().await?;
        let (status, text) = anew.admin("/readyz").await?;
        ensure!(status == 503, "{status}: {text}");
        Ok(())
    });
}

#[test]
fn without_the_syncer_pods_are_routed_and_pushes_wait_for_it() {
    prove(async {
        let mut stage = Stage::set().await?;
        let pushed = stage.push_is("succeeded").await?;
        stage.scene.drayage.syncer.kill()?;
        let asked = stage.ask_again().await?;
        ensure!(asked == 204, "{asked}");
        stage.pod_is_routed().await?;
        ensure!(stage.status().await?["status"] == "pending", "{}", stage.status().await?);
        stage.scene.drayage.syncer.restart().await?;
        let again = stage.push_is("succeeded").await?;
        ensure!(again["updated_at"].as_str() > pushed["updated_at"].as_str(), "{again}");
        Ok(())
    });
}

#[test]
fn without_any_registry_pods_are_routed_and_pushes_wait_with_a_reason() {
    prove(async {
        let mut stage = Stage::set().await?;
        stage.scene.source.stop();
        stage.scene.enterprise.stop();
        stage.pod_is_routed().await?;
        let asked = stage.ask_again().await?;
        ensure!(asked == 204, "{asked}");
        let compiled =
            stage.scene.drayage.compile(&stage.scene.algorithm, &json!({"commitSha": "next"})).await;
        let refused = compiled.err().context("a compile without the source registry")?;
        ensure!(format!("{refused:#}").contains("source_unreachable"), "{refused:#}");
        eventually("the reason", async || {
            let status = stage.status().await?;
            ensure!(status["reason"] == "destination_unreachable", "{status}");
            ensure!(status["status"] == "pending", "{status}");
            Ok(())
        })
        .await?;
        stage.scene.enterprise.restart().await?;
        stage.scene.source.restart().await?;
        stage.push_is("succeeded").await?;
        Ok(())
    });
}

#[test]
fn pods_wait_for_an_image_whose_registry_is_down_and_those_that_run_stay() {
    node::prove(async {
        let mut stage = node::Stage::set().await?;
        let pod = |name: &str| {
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": node::Stage::NAMESPACE, "labels": {"run": name}},
                "spec": {"containers": [{"name": "algorithm", "image": stage.written}]},
            })
        };
        let (running, waiting) = (pod("running"), pod("waiting"));
        stage.node.cluster.create(&running).await?;
        stage.runs("run=running", "algorithm").await?;
        stage.scene.enterprise.stop();
        stage.node.cluster.create(&waiting).await?;
        eventually("the wait", async || {
            let pod = ["get", "pod", "-n", node::Stage::NAMESPACE, "waiting"];
            let status = stage.node.cluster.get(&pod).await?["status"].take();
            let reason = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
            ensure!(reason == "ImagePullBackOff", "{status}");
            Ok(())
        })
        .await?;
        stage.runs("run=running", "algorithm").await?;
        stage.scene.enterprise.restart().await?;
        stage.runs("run=waiting", "algorithm").await
    });
}

#[test]
fn without_the_api_pods_are_routed_and_the_syncer_goes_on() {
    prove(async {
        let mut stage = Stage::set().await?;
        stage.scene.enterprise.stop();
        ensure!(stage.ask_again().await? == 204);
        stage.scene.drayage.api.kill()?;
        stage.pod_is_routed().await?;
        stage.scene.enterprise.restart().await?;
        let metric = "drayage_pushes{status=\"succeeded\"} 1";
        eventually("the push", async || {
            let (_, text) = stage.scene.drayage.syncer.admin("/metrics").await?;
            ensure!(text.contains(metric), "{text}");
            Ok(())
        })
        .await?;
        stage.scene.drayage.api.restart().await?;
        stage.push_is("succeeded").await?;
        Ok(())
    });
}

#[test]
fn a_restart_of_the_api_server_is_nobodys_business_but_the_pods() {
    prove(async {
        let mut stage = Stage::set().await?;
        stage.cluster.stop_server()?;
        ensure!(stage.ask_again().await? == 204);
        stage.push_is("succeeded").await?;
        stage.scene.drayage.webhook.ready().await?;
        stage.cluster.restart_server().await?;
        eventually("a pod", async || stage.pod_is_routed().await).await?;
        // The keeper watches again.
        let uid = async || {
            let leaf = certificates::secret(&stage.cluster, LEAF).await?;
            anyhow::Ok(leaf["metadata"]["uid"].clone())
        };
        let former = uid().await?;
        stage.cluster.kubectl(&["delete", "secret", "-n", "drayage", LEAF]).await?;
        let start = std::time::Instant::now();
        eventually("another leaf", async || {
            ensure!(uid().await? != former, "the former one");
            Ok(())
        })
        .await?;
        ensure!(start.elapsed() < HEALED_WITHIN, "{:?}", start.elapsed());
        Ok(())
    });
}

#[test]
fn without_any_webhook_only_pods_of_namespaces_that_take_part_are_refused() {
    prove(async {
        let mut stage = Stage::set().await?;
        stage.cluster.kubectl(&["create", "namespace", "others"]).await?;
        stage.scene.drayage.webhook.kill()?;
        let (status, answer) = stage.create("runners").await?;
        let message = answer["message"].as_str().context("a message")?;
        ensure!(status == 500 && message.contains("pods.drayage.dev"), "{status}: {answer}");
        let (status, pod) = stage.create("others").await?;
        ensure!(status == 201, "{status}: {pod}");
        // Nothing else waits for it: what there is can be changed and deleted.
        stage.cluster.kubectl(&["label", "pods", "--all", "-n", "runners", "touched=yes"]).await?;
        stage
            .cluster
            .kubectl(&["delete", "pods", "--all", "-n", "runners", "--grace-period=0", "--force"])
            .await?;
        stage.scene.drayage.webhook.restart().await?;
        stage.scene.drayage.webhook.ready().await?;
        called_at(&stage.cluster, stage.scene.drayage.webhook.port()?).await?;
        eventually("a pod", async || stage.pod_is_routed().await).await
    });
}

#[test]
fn webhook_that_is_asked_to_stop_answers_until_it_is_known() {
    prove(async {
        let scene = Scene::start_with(|drayage| drayage.webhook(&["--drain", "20s"])).await?;
        let pod = scene.pod("runners", ":unknown");
        scene.drayage.admit(&pod).await?;
        scene.drayage.webhook.signal(Signal::TERM)?;
        eventually("the signal", async || {
            ensure!(scene.drayage.webhook.log().contains("stopping"));
            Ok(())
        })
        .await?;
        for _ in 0..20 {
            scene.drayage.admit(&pod).await?;
        }
        Ok(())
    });
}
