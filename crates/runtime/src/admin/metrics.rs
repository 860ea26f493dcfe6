//! What `/metrics` shows: a program's registry, the process itself and `drayage_build_info`.
//! Gauges that lie elsewhere, such as in a database, are gathered by hooks at each scrape.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::sync::Mutex;
use tracing::warn;

use crate::program;

/// How long a scrape waits for a hook before it shows the gauges as they were.
const GATHER_WITHIN: Duration = Duration::from_secs(5);

type Hook = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    hooks: Vec<Hook>,
    /// Two scrapes at once would see each other's gauges half set.
    scrape: Mutex<()>,
}

impl Metrics {
    /// Metrics of the process itself and `drayage_build_info`.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let opts = Opts::new("drayage_build_info", "The version and commit that run, always 1");
        let build = IntGaugeVec::new(opts, &["version", "commit"])?;
        build.with_label_values(&[program::NUMBER, program::COMMIT]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry, hooks: Vec::new(), scrape: Mutex::new(()) })
    }

    /// Where a program registers its own; clones of it share them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs `hook`, too, before each scrape is answered; it handles its own failures.
    pub fn on_scrape<F>(mut self, hook: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Box::new(move || Box::pin(hook())));
        self
    }

    pub(super) async fn render(&self) -> prometheus::Result<String> {
        let _alone = self.scrape.lock().await;
        for hook in &self.hooks {
            if tokio::time::timeout(GATHER_WITHIN, hook()).await.is_err() {
                warn!("gathering metrics takes too long, showing those of an earlier scrape");
            }
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("registry", &self.registry).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntGauge;

    use super::*;

    #[tokio::test]
    async fn gauges_are_gathered_when_they_are_scraped() {
        let metrics = Metrics::new().unwrap();
        let pushes = IntGauge::new("drayage_pushes", "pushes").unwrap();
        metrics.registry().register(Box::new(pushes.clone())).unwrap();
        let once = |by| {
            let pushes = pushes.clone();
            move || {
                let pushes = pushes.clone();
                async move { pushes.add(by) }
            }
        };
        let metrics = metrics.on_scrape(once(1)).on_scrape(once(10));
        metrics.render().await.unwrap();
        let page = metrics.render().await.unwrap();
        assert!(page.contains("\ndrayage_pushes 22\n"), "{page}");
        assert!(page.contains("drayage_build_info{"), "{page}");
        assert!(page.contains("process_resident_memory_bytes "), "{page}");
    }
}
