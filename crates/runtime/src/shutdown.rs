//! One token that says "stop taking work", cloned to whoever has work, and the signals that
//! begin it. `program` bounds it: after the grace the process ends whatever is left.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process that it is to stop.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
    grace: Duration,
    began: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// A shutdown that has not begun and allows `grace` once it has.
    pub fn new(grace: Duration) -> Self {
        Self { token: CancellationToken::new(), grace, began: Arc::default() }
    }

    /// Waits until the shutdown has begun.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Whether the shutdown has begun.
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Begins it: what a signal does.
    pub fn begin(&self) {
        self.began.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// How long the process waits for its parts once the shutdown has begun.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// What is left of the grace: all of it until the shutdown begins.
    pub(crate) fn left(&self) -> Duration {
        self.grace.saturating_sub(self.began.get().map_or(Duration::ZERO, Instant::elapsed))
    }
}

/// SIGTERM and SIGINT, from the moment it is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
