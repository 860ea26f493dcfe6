//! One push under its lease: copy, prove, record. A lease that is lost stops the work, and a shutdown
//! hands it back when it does not end in time.

use std::time::Duration;

use copy::{Copier, Job, Progress};
use distribution::{Registry, Transport};
use domain::push::{Failure, Moved, Pullable, Reason, RetryPolicy};
use runtime::Shutdown;
use store::{Claim, Failed, Finished, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::PushMetrics;
use crate::moves::Moves;
use crate::proof;
use crate::source::SourceLogin;
use crate::worker::chain;

/// How often a running push shows its progress; its lease is extended then, or when a third has passed.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What a shutdown leaves for handing pushes back.
const HAND_BACK: Duration = Duration::from_secs(2);
/// How long a database that does not take a result is left alone.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// What every push needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) source: SourceLogin,
    pub(crate) transport: Transport,
    pub(crate) copier: Copier,
    pub(crate) moves: Moves,
    pub(crate) metrics: PushMetrics,
    pub(crate) policy: RetryPolicy,
    pub(crate) lease: Duration,
}

/// Performs a claimed push to its end, whatever that is.
pub(crate) async fn perform(context: Context, claim: Claim, shutdown: Shutdown) {
    let started = Instant::now();
    let progress = context.metrics.started(claim.registry);
    let outcome = tokio::select! {
        outcome = attempt(&context, &claim, &progress) => outcome,
        () = lease_lost(&context, &claim, &progress) => {
            tracing::warn!(registry.id = %claim.registry, version.hash = %claim.tag, "lost the lease, letting go");
            return;
        }
        () = out_of_time(&shutdown) => {
            hand_back(&context, &claim).await;
            return;
        }
    };
    record(&context, &claim, outcome, started).await;
}

async fn attempt(
    context: &Context,
    claim: &Claim,
    progress: &Progress,
) -> Result<(Moved, Pullable), Failure> {
    let full = |address: &domain::registry::Address| {
        address.repository(&claim.repository).map_err(|error| {
            Failure::new(Reason::Unsupported, format!("{address}/{}: {error}", claim.repository))
        })
    };
    let (source_repository, destination_repository) = (full(&claim.source)?, full(&claim.destination)?);
    let source_login = context.source.for_source(&claim.source).map_err(|error| {
        Failure::new(Reason::SourceDenied, format!("--registry-auth-file: {}", chain(&error)))
    })?;
    let source = Registry::new(&context.transport, claim.source.clone(), source_login);
    let destination = Registry::new(&context.transport, claim.destination.clone(), claim.push_login.clone());
    let job = Job {
        source: &source,
        source_repository: &source_repository,
        digest: &claim.digest,
        destination: &destination,
        destination_repository: &destination_repository,
        tag: &claim.tag,
    };
    // To look is not to move: two questions, with either login, decide that nothing has to.
    let (there, readable) = tokio::join!(
        context.copier.look(&job),
        proof::is_readable(&context.transport, claim, &destination_repository)
    );
    let moved = match there? {
        Some(moved) if readable => return Ok((moved, Pullable::Verified)),
        Some(moved) => moved,
        None => {
            let moving = context.moves.begin(claim.registry).await;
            context.copier.copy(&job, progress, moving).await?
        }
    };
    let pullable = proof::prove(&context.transport, claim, &destination_repository).await?;
    Ok((moved, pullable))
}

/// Extends the lease while the work goes on; returns once it is lost, or must be taken for lost because
/// the database has not answered for as long as it lasts.
async fn lease_lost(context: &Context, claim: &Claim, progress: &Progress) {
    let period = HEARTBEAT.min(context.lease / 3);
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut held_since, mut shown) = (Instant::now(), (0, 0));
    loop {
        let asked = ticks.tick().await;
        let (done, total) = (progress.bytes_done(), progress.bytes_total());
        // A push that waits has nothing to show, and many may wait.
        if (done, total) == shown && held_since.elapsed() < context.lease / 3 {
            continue;
        }
        match context.store.renew_lease(claim, context.lease, done, total).await {
            Ok(true) => (held_since, shown) = (asked, (done, total)),
            Ok(false) => return,
            Err(error) => tracing::warn!(error = %chain(&error), "cannot extend the lease, trying again"),
        }
        if held_since.elapsed() >= context.lease {
            return;
        }
    }
}

async fn out_of_time(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(shutdown.grace().saturating_sub(HAND_BACK)).await;
}

async fn hand_back(context: &Context, claim: &Claim) {
    let reference = reference(claim);
    match context.store.release_push(claim).await {
        Ok(()) => tracing::info!(image.reference = %reference, "handed back unfinished"),
        Err(error) => {
            tracing::warn!(image.reference = %reference, error = %chain(&error), "not handed back, its lease will run out");
        }
    }
}

/// Writes down what came of it. While the database does not take it, the lease is the limit: afterwards
/// the push is done again, which finds everything in its place.
async fn record(
    context: &Context,
    claim: &Claim,
    outcome: Result<(Moved, Pullable), Failure>,
    started: Instant,
) {
    let give_up = Instant::now() + context.lease;
    let jitter = rand::random::<f64>();
    loop {
        let recorded = match &outcome {
            Ok((moved, pullable)) => succeeded(context, claim, *moved, *pullable, started).await,
            Err(failure) => failed(context, claim, failure, jitter, started).await,
        };
        match recorded {
            Ok(()) => return,
            Err(error) if Instant::now() < give_up => {
                tracing::warn!(error = %chain(&error), "cannot record a push, trying again");
                tokio::time::sleep(RECORD_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot record a push; it will be done again");
                return;
            }
        }
    }
}

async fn succeeded(
    context: &Context,
    claim: &Claim,
    moved: Moved,
    pullable: Pullable,
    started: Instant,
) -> Result<(), StoreError> {
    let finished = context.store.finish_push(claim, moved, pullable).await?;
    if finished == Finished::LeaseLost {
        tracing::warn!(image.reference = %reference(claim), "lost the lease before the result was recorded");
        return Ok(());
    }
    context.metrics.succeeded(claim.registry, moved, started.elapsed());
    tracing::info!(
        registry.id = %claim.registry,
        image.reference = %reference(claim),
        image.digest = %claim.digest,
        push.status = "succeeded",
        pullable = %pullable,
        outdated = finished == Finished::Outdated,
        bytes_uploaded = moved.uploaded,
        bytes_mounted = moved.mounted,
        bytes_present = moved.present,
        duration_ms = started.elapsed().as_millis() as u64,
        "pushed"
    );
    Ok(())
}

async fn failed(
    context: &Context,
    claim: &Claim,
    failure: &Failure,
    jitter: f64,
    started: Instant,
) -> Result<(), StoreError> {
    let next = context.store.fail_push(claim, failure.clone(), context.policy, jitter).await?;
    let (status, due) = match next {
        Failed::LeaseLost => {
            tracing::warn!(image.reference = %reference(claim), "lost the lease before the failure was recorded");
            return Ok(());
        }
        Failed::Over => ("failed", None),
        Failed::Again(due) => ("pending", Some(due)),
        Failed::Outdated => ("pending", None),
    };
    context.metrics.failed(claim.registry, failure.reason, next == Failed::Over);
    tracing::warn!(
        registry.id = %claim.registry,
        image.reference = %reference(claim),
        image.digest = %claim.digest,
        push.status = status,
        attempt = claim.attempt,
        reason = %failure.reason,
        due_at = due.map(tracing::field::display),
        duration_ms = started.elapsed().as_millis() as u64,
        "not pushed: {}",
        failure.message
    );
    Ok(())
}

fn reference(claim: &Claim) -> String {
    claim
        .destination
        .reference(&claim.repository, &claim.tag)
        .unwrap_or_else(|_| claim.repository.to_string())
}
