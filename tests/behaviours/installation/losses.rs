//! What is lost by a crash or with a node, while pods are created without a pause: the lines of the table "When
//! something is gone" of docs/operations.md in which creations are refused, for how long, and that none is ever
//! stored unrouted. `upgrade` holds that none is refused when things are restarted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::claim::eventually;
use harness::node::{Node, Second, crash, prove};
use reqwest::Method;
use serde_json::{Value, json};

use super::creations::{Creations, Refusal};
use super::{Api, Installed, NAMESPACE};

/// From a crash until every creation is taken again.
const CRASH_HEALED_WITHIN: Duration = Duration::from_secs(15);
/// From the moment at which the API server knows until each node's rules know.
const SPREAD_WITHIN: Duration = Duration::from_secs(5);

/// Tells how many were refused since something happened, and checks that each was for want of a webhook.
fn refused(what: &str, since: Instant, refusals: &[Refusal]) -> Result<()> {
    let last = refusals.iter().map(|refusal| refusal.asked).max();
    let longest = refusals.iter().map(|refusal| refusal.took).max();
    eprintln!(
        "{what}: {} refused, the last one {:?} after it, the slowest in {longest:?}",
        refusals.len(),
        last.map(|last| last.saturating_duration_since(since))
    );
    for Refusal { asked, took, answer } in refusals {
        let message = answer["message"].as_str().unwrap_or_default();
        ensure!(message.contains("failed calling webhook \"pods.drayage.dev\""), "{answer}");
        ensure!(*asked + *took > since, "refused before: {answer}");
    }
    Ok(())
}

fn none_since(moment: Instant, refusals: &[Refusal]) -> Result<()> {
    let late = refusals.iter().find(|refusal| refusal.asked > moment);
    ensure!(late.is_none(), "{:?} later: {late:?}", late.map(|late| late.asked - moment));
    Ok(())
}

#[test]
fn webhook_that_crashes_refuses_creations_for_seconds_and_stores_none_unrouted() {
    prove(async {
        let installed = Installed::from("default").await?;
        let claim = async {
            let image = installed.push().await?;
            let creations = Creations::begin(&installed, &image)?;
            creations.go_on(50).await?;
            let crashed = Instant::now();
            crash("drayage-webhook")?;
            eventually("the webhook to be back", async || {
                let webhooks = installed.webhooks().await?;
                let restarts =
                    webhooks.iter().map(|pod| &pod["status"]["containerStatuses"][0]["restartCount"]);
                ensure!(restarts.filter_map(Value::as_u64).sum::<u64>() == 1, "not restarted");
                Ok(())
            })
            .await?;
            let back = Instant::now();
            creations.go_on(100).await?;
            let refusals = creations.end().await?;
            refused("a crash", crashed, &refusals)?;
            ensure!(back - crashed < CRASH_HEALED_WITHIN, "{:?}", back - crashed);
            none_since(back, &refusals)
        };
        installed.told(claim.await).await
    });
}

#[test]
fn overlay_of_one_pod_refuses_creations_while_it_is_replaced_and_stores_none_unrouted() {
    prove(async {
        let installed = Installed::from("single").await?;
        let claim = async {
            let image = installed.push().await?;
            let creations = Creations::begin(&installed, &image)?;
            creations.go_on(50).await?;
            let replaced = Instant::now();
            installed
                .node
                .cluster
                .kubectl(&["rollout", "restart", "-n", "drayage", "deployment/drayage"])
                .await?;
            installed.installation.ready(&installed.node, "drayage").await?;
            eventually("a pod", async || installed.is_routed(&image).await).await?;
            let back = Instant::now();
            creations.go_on(100).await?;
            let refusals = creations.end().await?;
            ensure!(!refusals.is_empty(), "nobody noticed");
            refused("one pod for all", replaced, &refusals)?;
            none_since(back, &refusals)
        };
        installed.told(claim.await).await
    });
}

/// Drains the first node, and has one of the webhooks there again; the volume's pod stays on the second.
async fn drain(installed: &Installed) -> Result<()> {
    let (cluster, installation) = (&installed.node.cluster, &installed.installation);
    let drain = ["drain", "node", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
    cluster.kubectl(&drain).await?;
    installation.ready(&installed.node, "drayage").await?;
    let moved = installed.webhooks().await?;
    cluster.kubectl(&["uncordon", "node"]).await?;
    let one = moved[0]["metadata"]["name"].as_str().context("a name")?;
    cluster.kubectl(&["delete", "pod", "-n", "drayage", one, "--wait=false"]).await?;
    let webhooks = installed.webhooks().await?;
    let mut nodes: Vec<_> = webhooks.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    nodes.sort_unstable();
    ensure!(nodes == ["node", Second::NAME], "webhooks on {nodes:?}");
    Ok(())
}

#[test]
fn drained_node_refuses_nothing_and_a_dead_one_what_was_on_its_way() {
    prove(async {
        let node = Node::start().await?;
        let second = Second::join(&node).await?;
        let installed = Installed::on(node, "default").await?;
        let cluster = &installed.node.cluster;
        let claim = async {
            let image = installed.push().await?;
            let creations = Creations::begin(&installed, &image)?;
            creations.go_on(50).await?;
            drain(&installed).await?;
            let died = Instant::now();
            second.die()?;
            let unknown = ["wait", "node", Second::NAME, "--for=condition=Ready=Unknown", "--timeout=120s"];
            cluster.kubectl(&unknown).await?;
            let known = Instant::now();
            eprintln!("a dead node is known after {:?}", known - died);
            // Once somebody says that it is gone for good, its volume goes to the other one.
            cluster.kubectl(&["delete", "node", Second::NAME]).await?;
            installed.installation.ready(&installed.node, "drayage").await?;
            installed.installation.ready(&installed.node, "drayage-webhook").await?;
            eprintln!("the volume's pod is back after {:?}", died.elapsed());
            let refusals = creations.end().await?;
            refused("a dead node", died, &refusals)?;
            none_since(known + SPREAD_WITHIN, &refusals)?;
            webhooks_follow(&installed, &image).await
        };
        // Nobody gives the logs of what was there.
        claim.await
    });
}

/// Moves the route of an image, and waits until pods are sent there.
async fn webhooks_follow(installed: &Installed, image: &str) -> Result<()> {
    let api = Api::of(&installed.node, &installed.installation).await?;
    let registry = json!({
        "name": "next",
        "registry_url": format!("{}/next", installed.enterprise.url()),
        "registry_username": installed.login.username,
        "registry_password": installed.login.password,
    });
    let registry = api.call(Method::POST, "registries", Some(registry)).await?["id"].clone();
    let ada = Api { key: api.make_key("ada", "ManagementKey").await?, client: api.client.clone() };
    let (_, hash) = image.rsplit_once(':').context("a tag")?;
    let push = json!({"registry_id": registry});
    ada.ask(Method::POST, &format!("algorithms/ada/primes/versions/{hash}/registry"), Some(push)).await?;
    eventually("the new route", async || {
        let asked = ["run", "-n", NAMESPACE, "asked", "--image", image, "--dry-run=server"];
        let pod = installed.node.cluster.get(&asked).await?;
        let image = pod["spec"]["containers"][0]["image"].as_str();
        ensure!(image.is_some_and(|image| image.contains("/next/")), "{pod}");
        Ok(())
    })
    .await
}
