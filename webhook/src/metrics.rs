//! The webhook's metrics: `drayage_admission_*` counted by the service, the routes and the certificate read
//! at each scrape. Labels are bounded: never an image, a namespace or a registry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use routing::patch::Outcome;
use runtime::admin::Metrics;
use runtime::tls::Certificate;

use crate::certificates;
use crate::follower::Routes;

/// Seconds. From 50 µs, about what one admission takes, to the timeout of the webhook configuration.
const BUCKETS: [f64; 15] =
    [50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 3.0];

/// What the service counts; clones share it.
#[derive(Clone, Debug)]
pub struct AdmissionMetrics {
    routed: IntCounter,
    unchanged: IntCounter,
    unrouted: IntCounter,
    refused: IntCounter,
    malformed: IntCounter,
    duration: Histogram,
}

impl AdmissionMetrics {
    /// Registers them; every outcome is there from the beginning, with 0.
    ///
    /// # Errors
    /// A name that is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new("drayage_admission_requests_total", "Admission reviews by how they ended");
        let requests = IntCounterVec::new(opts, &["outcome"])?;
        let help = "Seconds from the whole review to its answer";
        let opts = HistogramOpts::new("drayage_admission_duration_seconds", help).buckets(BUCKETS.to_vec());
        let duration = Histogram::with_opts(opts)?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        let counter = |outcome| requests.with_label_values(&[outcome]);
        Ok(Self {
            routed: counter("routed"),
            unchanged: counter("unchanged"),
            unrouted: counter("unrouted"),
            refused: counter("refused"),
            malformed: counter("malformed"),
            duration,
        })
    }

    pub(crate) fn admitted(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Unchanged => &self.unchanged,
            Outcome::Routed => &self.routed,
            Outcome::Unrouted => &self.unrouted,
            Outcome::Refused => &self.refused,
        }
        .inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn malformed(&self) {
        self.malformed.inc();
    }
}

/// Adds the gauge of the certificate in force, 0 while there is none.
pub(crate) fn with_certificate(metrics: Metrics, certificate: Certificate) -> prometheus::Result<Metrics> {
    let name = "drayage_certificate_expiry_seconds";
    let left = Gauge::new(name, "Until the certificate that is served expires")?;
    metrics.registry().register(Box::new(left.clone()))?;
    Ok(metrics.on_scrape(move || {
        let expires = certificate.leaf().and_then(|leaf| certificates::expiry_of(&leaf));
        left.set(expires.map_or(0.0, |expires| match expires.duration_since(SystemTime::now()) {
            Ok(left) => left.as_secs_f64(),
            Err(since) => -since.duration().as_secs_f64(),
        }));
        std::future::ready(())
    }))
}

/// Adds the gauges of the table in force.
pub(crate) fn with_routes(metrics: Metrics, routes: Arc<Routes>) -> prometheus::Result<Metrics> {
    let count = IntGauge::new("drayage_routes", "Image and registry pairs in the table")?;
    let age = Gauge::new("drayage_routes_age_seconds", "Since the table was last known to be current")?;
    metrics.registry().register(Box::new(count.clone()))?;
    metrics.registry().register(Box::new(age.clone()))?;
    Ok(metrics.on_scrape(move || {
        count.set(routes.table().as_ref().map_or(0, |table| table.routes() as i64));
        age.set(routes.age().as_secs_f64());
        std::future::ready(())
    }))
}
