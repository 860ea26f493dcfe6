//! A proxy that breaks what passes through it: plain HTTP/1.1 in front of a real registry, in the test's
//! own process. Its rules are data (`rule`), what passed is counted (`seen`). `stage` puts one in front of
//! either registry of a Drayage. It knows nothing of registries itself.

mod connection;
mod message;
mod rule;
mod seen;
mod stage;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use message::Head;
use rule::Armed;
use seen::Passing;

pub use rule::{Fault, Reply, Rule, When, answer, any, change, get, head, patch, post, put, relocate};
pub use seen::Seen;
pub use stage::{Built, Outcome, Setup, Stage, on_stage};

/// A proxy that runs; gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Accepts, and holds every connection; gone while the door is shut.
    door: Option<JoinHandle<()>>,
}

/// What its connections share.
#[derive(Debug)]
struct Shared {
    upstream: Option<SocketAddr>,
    rules: Mutex<Vec<Arc<Armed>>>,
    passed: Mutex<Vec<Arc<Passing>>>,
}

impl Shared {
    /// Notes a request, and finds what is to happen to it.
    fn meet(&self, head: Head) -> (Arc<Passing>, Option<Fault>) {
        let fault = lock(&self.rules).iter().find_map(|rule| rule.fault(&head));
        let passing = Arc::new(Passing::new(head));
        lock(&self.passed).push(passing.clone());
        (passing, fault)
    }
}

impl Proxy {
    /// Passes everything to `upstream`, until there are rules.
    pub async fn to(upstream: SocketAddr) -> Result<Self> {
        Self::start(Some(upstream)).await
    }

    /// Has nothing behind it: what no rule answers is not found.
    pub async fn alone() -> Result<Self> {
        Self::start(None).await
    }

    async fn start(upstream: Option<SocketAddr>) -> Result<Self> {
        let shared = Shared { upstream, rules: Mutex::default(), passed: Mutex::default() };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { address, shared: Arc::new(shared), door: None };
        proxy.open().await?;
        Ok(proxy)
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How a person names it to Drayage.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets in, on the port that it has had before.
    pub async fn open(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.address = listener.local_addr()?;
        let shared = self.shared.clone();
        self.door = Some(tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection::serve(client, shared.clone()));
            }
        }));
        Ok(())
    }

    /// Refuses connections and ends those that there are.
    pub async fn shut(&mut self) {
        if let Some(door) = self.door.take() {
            door.abort();
            // An error says that it was aborted.
            let _aborted = door.await;
        }
    }

    /// Does it to the first of the requests. What was said first goes first.
    pub fn once(&self, when: When, fault: impl Into<Fault>) -> Rule {
        self.times(1, when, fault)
    }

    /// Does it to so many of the requests.
    pub fn times(&self, times: u64, when: When, fault: impl Into<Fault>) -> Rule {
        let armed = Arc::new(Armed::new(when, times, fault.into()));
        lock(&self.shared.rules).push(armed.clone());
        Rule(armed)
    }

    /// Does it to all of the requests until it is switched off.
    pub fn always(&self, when: When, fault: impl Into<Fault>) -> Rule {
        self.times(u64::MAX, when, fault)
    }

    /// Takes all rules away.
    pub fn behave(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Every request of a kind so far.
    pub fn seen(&self, when: &When) -> Vec<Seen> {
        let passed = lock(&self.shared.passed);
        passed.iter().filter(|passing| when.matches(&passing.head)).map(|passing| passing.seen()).collect()
    }

    /// How many requests of a kind there were.
    pub fn count(&self, when: &When) -> usize {
        self.seen(when).len()
    }

    /// How many bytes the bodies of a kind of requests had.
    pub fn bytes_sent(&self, when: &When) -> u64 {
        self.seen(when).iter().map(|seen| seen.sent).sum()
    }

    /// How many bytes the answers to a kind of requests had.
    pub fn bytes_received(&self, when: &When) -> u64 {
        self.seen(when).iter().map(|seen| seen.received).sum()
    }

    /// Forgets what passed so far.
    pub fn forget(&self) {
        lock(&self.shared.passed).clear();
    }

    /// What passed, a request a line, for whoever reads why a claim failed.
    pub fn transcript(&self) -> String {
        let line = |seen: Seen| {
            format!(
                "{} {} {} (sent {}, received {})\n",
                seen.status, seen.method, seen.uri, seen.sent, seen.received
            )
        };
        self.seen(&any("*")).into_iter().map(line).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(door) = &self.door {
            door.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
