//! The metrics that alerts rely on, scraped from the three programs after a push and an admission.

mod page;

use anyhow::{Context, Result, ensure};
use harness::claim::{eventually, prove};
use harness::scene::{COMMIT, Scene};
use harness::services::Service;

use page::Page;

const SYNCER: [(&str, &str); 9] = [
    ("drayage_pushes_total", "counter"),
    ("drayage_push_attempts_total", "counter"),
    ("drayage_push_duration_seconds", "histogram"),
    ("drayage_push_bytes_total", "counter"),
    ("drayage_pushes", "gauge"),
    ("drayage_push_oldest_pending_seconds", "gauge"),
    ("drayage_push_last_success_timestamp_seconds", "gauge"),
    ("drayage_push_bytes_in_flight", "gauge"),
    ("drayage_registry_info", "gauge"),
];
const WEBHOOK: [(&str, &str); 4] = [
    ("drayage_admission_requests_total", "counter"),
    ("drayage_admission_duration_seconds", "histogram"),
    ("drayage_routes", "gauge"),
    ("drayage_routes_age_seconds", "gauge"),
];
const API: [(&str, &str); 2] =
    [("drayage_http_requests_total", "counter"), ("drayage_http_request_duration_seconds", "histogram")];

async fn scrape(service: &Service, families: &[(&str, &str)]) -> Result<Page> {
    let (status, text) = service.admin("/metrics").await?;
    ensure!(status == 200, "{text}");
    let page = Page::read(&text)?;
    ensure!(page.value("drayage_build_info", &[])? == 1.0);
    for (family, kind) in families {
        let declared = page.families.get(*family).with_context(|| format!("no {family}"))?;
        ensure!(declared == kind, "{family} is a {declared}");
    }
    Ok(page)
}

#[test]
fn metrics_count_what_happened_under_bounded_labels() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        drayage.compile(algorithm, &scene.stored_push()).await?;
        drayage.pushed(algorithm, COMMIT, &scene.registry).await?;
        let registry = ("registry_id", scene.registry.as_str());
        let pod = scene.pod("runners", &format!(":{COMMIT}"));
        // The counts follow the commit that answers the status by a moment.
        let syncer = eventually("the push to be counted", async || {
            let page = scrape(&drayage.syncer, &SYNCER).await?;
            ensure!(page.value("drayage_pushes_total", &[registry, ("outcome", "succeeded")])? == 1.0);
            Ok(page)
        });
        let syncer = syncer.await?;
        ensure!(syncer.value("drayage_push_attempts_total", &[registry])? == 1.0);
        ensure!(syncer.value("drayage_push_duration_seconds_count", &[registry])? == 1.0);
        let uploaded = syncer.value("drayage_push_bytes_total", &[registry, ("how", "uploaded")])?;
        let size: usize = scene.image.all_blobs().map(|blob| blob.bytes.len()).sum();
        ensure!(uploaded >= size as f64, "{uploaded} bytes uploaded of {size}");
        ensure!(syncer.value("drayage_pushes", &[("status", "succeeded")])? == 1.0);
        ensure!(syncer.value("drayage_pushes", &[("status", "pending")])? == 0.0);
        ensure!(syncer.value("drayage_push_last_success_timestamp_seconds", &[registry])? > 1e9);
        ensure!(syncer.value("drayage_registry_info", &[registry, ("name", "enterprise")])? == 1.0);

        let webhook = eventually("a routed admission", async || {
            drayage.admit(&pod).await?;
            let page = scrape(&drayage.webhook, &WEBHOOK).await?;
            ensure!(page.value("drayage_admission_requests_total", &[("outcome", "routed")])? >= 1.0);
            Ok(page)
        });
        let webhook = webhook.await?;
        ensure!(webhook.value("drayage_routes", &[])? == 1.0);
        ensure!(webhook.value("drayage_routes_age_seconds", &[])? < 60.0);

        let api = scrape(&drayage.api, &API).await?;
        let made = [("method", "POST"), ("route", "/v1/registries"), ("status", "200")];
        ensure!(api.value("drayage_http_requests_total", &made)? == 1.0);

        for sample in [&syncer, &webhook, &api].into_iter().flat_map(Page::samples) {
            let unbounded = sample
                .labels
                .values()
                .find(|value| [COMMIT, "primes", "ada", "sha256"].iter().any(|word| value.contains(word)));
            ensure!(unbounded.is_none(), "{sample:?}");
        }
        Ok(())
    });
}
