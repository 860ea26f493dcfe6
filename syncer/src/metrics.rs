//! The metrics of pushes. Counters count what this process did; gauges are read from the database when
//! they are scraped. No label names an image.

use std::time::Duration;

use copy::{InFlight, Progress};
use domain::push::{Moved, Reason};
use domain::registry::RegistryId;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use runtime::admin::Metrics;
use store::{PushStatistics, Store};

use crate::worker::chain;

/// From a look that moves nothing to the largest layers over a slow line, in seconds.
const DURATIONS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0];

/// Counts what the pushes of this process did.
#[derive(Clone)]
pub(crate) struct PushMetrics {
    pushes: IntCounterVec,
    failures: IntCounterVec,
    attempts: IntCounterVec,
    duration: HistogramVec,
    bytes: IntCounterVec,
    in_flight: InFlight,
}

impl PushMetrics {
    /// The metrics, and the page that shows them beside the gauges of the database.
    pub(crate) fn new(store: &Store) -> prometheus::Result<(Self, Metrics)> {
        let page = Metrics::new()?;
        let registry = page.registry();
        let metrics = Self {
            pushes: counter(
                registry,
                "drayage_pushes_total",
                "Pushes that ended",
                &["registry_id", "outcome"],
            )?,
            failures: counter(
                registry,
                "drayage_push_failures_total",
                "Tries that failed, by reason",
                &["registry_id", "reason"],
            )?,
            attempts: counter(registry, "drayage_push_attempts_total", "Tries that began", &["registry_id"])?,
            duration: HistogramVec::new(
                HistogramOpts::new("drayage_push_duration_seconds", "How long successful tries took")
                    .buckets(DURATIONS.to_vec()),
                &["registry_id"],
            )?,
            bytes: counter(
                registry,
                "drayage_push_bytes_total",
                "Bytes of successful pushes, by how they came to the registry",
                &["registry_id", "how"],
            )?,
            in_flight: InFlight::default(),
        };
        registry.register(Box::new(metrics.duration.clone()))?;
        let gauges = Gauges::new(registry)?;
        let (store, in_flight) = (store.clone(), metrics.in_flight.clone());
        let pushes = metrics.pushes.clone();
        let page = page.on_scrape(move || {
            let (store, gauges, pushes) = (store.clone(), gauges.clone(), pushes.clone());
            gauges.in_flight.set(i64::try_from(in_flight.bytes()).unwrap_or(i64::MAX));
            async move {
                match store.push_statistics().await {
                    Ok(statistics) => {
                        gauges.show(&statistics);
                        // To Prometheus a count that begins with its first event has not increased.
                        for registry in &statistics.registries {
                            for outcome in ["succeeded", "failed"] {
                                pushes.with_label_values(&[registry.id.to_string().as_str(), outcome]);
                            }
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "the gauges cannot be read from the database")
                    }
                }
            }
        });
        Ok((metrics, page))
    }

    /// A try begins; what shows its progress.
    pub(crate) fn started(&self, registry: RegistryId) -> Progress {
        self.attempts.with_label_values(&[registry.to_string()]).inc();
        Progress::new(self.in_flight.clone())
    }

    /// A push has succeeded.
    pub(crate) fn succeeded(&self, registry: RegistryId, moved: Moved, took: Duration) {
        let id = registry.to_string();
        self.pushes.with_label_values(&[id.as_str(), "succeeded"]).inc();
        self.duration.with_label_values(&[id.as_str()]).observe(took.as_secs_f64());
        for (how, bytes) in
            [("uploaded", moved.uploaded), ("mounted", moved.mounted), ("present", moved.present)]
        {
            self.bytes.with_label_values(&[id.as_str(), how]).inc_by(bytes);
        }
    }

    /// A try has failed, perhaps the push with it.
    pub(crate) fn failed(&self, registry: RegistryId, reason: Reason, over: bool) {
        let id = registry.to_string();
        self.failures.with_label_values(&[id.as_str(), reason.as_str()]).inc();
        if over {
            self.pushes.with_label_values(&[id.as_str(), "failed"]).inc();
        }
    }
}

#[derive(Clone)]
struct Gauges {
    pushes: IntGaugeVec,
    oldest_pending: Gauge,
    last_success: GaugeVec,
    info: IntGaugeVec,
    in_flight: IntGauge,
}

impl Gauges {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = Self {
            pushes: IntGaugeVec::new(Opts::new("drayage_pushes", "Pushes in the database"), &["status"])?,
            oldest_pending: Gauge::new(
                "drayage_push_oldest_pending_seconds",
                "How long ago the oldest pending push was asked for; 0 without one",
            )?,
            last_success: GaugeVec::new(
                Opts::new("drayage_push_last_success_timestamp_seconds", "When a push last succeeded"),
                &["registry_id"],
            )?,
            info: IntGaugeVec::new(
                Opts::new("drayage_registry_info", "The registries, always 1"),
                &["registry_id", "name", "url"],
            )?,
            in_flight: IntGauge::new(
                "drayage_push_bytes_in_flight",
                "Bytes of blobs under way that are still to be sent",
            )?,
        };
        registry.register(Box::new(gauges.pushes.clone()))?;
        registry.register(Box::new(gauges.oldest_pending.clone()))?;
        registry.register(Box::new(gauges.last_success.clone()))?;
        registry.register(Box::new(gauges.info.clone()))?;
        registry.register(Box::new(gauges.in_flight.clone()))?;
        Ok(gauges)
    }

    fn show(&self, statistics: &PushStatistics) {
        for (status, count) in &statistics.counts {
            self.pushes.with_label_values(&[status.as_str()]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        let age =
            statistics.oldest_pending.map_or(0.0, |since| statistics.now.duration_since(since).as_secs_f64());
        self.oldest_pending.set(age);
        // Registries come and go.
        self.last_success.reset();
        self.info.reset();
        for registry in &statistics.registries {
            let id = registry.id.to_string();
            if let Some(at) = registry.last_success {
                self.last_success.with_label_values(&[id.as_str()]).set(at.as_millisecond() as f64 / 1000.0);
            }
            let (name, url) = (registry.name.as_deref().unwrap_or_default(), registry.address.to_string());
            self.info.with_label_values(&[id.as_str(), name, url.as_str()]).set(1);
        }
    }
}

/// Adds the gauge of what auditors found.
pub(crate) fn with_strays(page: Metrics, store: &Store) -> prometheus::Result<Metrics> {
    let strays = IntGauge::new("drayage_stray_pods", "Pods that run from elsewhere than their routes say")?;
    page.registry().register(Box::new(strays.clone()))?;
    let store = store.clone();
    Ok(page.on_scrape(move || {
        let (store, strays) = (store.clone(), strays.clone());
        async move {
            match store.stray_pods().await {
                Ok(count) => strays.set(i64::try_from(count).unwrap_or(i64::MAX)),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the stray pods cannot be counted in the database")
                }
            }
        }
    }))
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}
