//! One push under its lease: look, copy, prove, record. A lease that is lost stops the work, and a shutdown
//! hands it back when it does not end in time.

use std::time::Duration;

use copy::{Copier, Job, Progress};
use distribution::{Registry, Transport};
use domain::push::{Failure, Moved, Pullable, Reason, RetryPolicy};
use runtime::Shutdown;
use store::{Claim, Failed, Finished, Store, StoreError};
use tokio::time::Instant;

use crate::leases::Leases;
use crate::metrics::PushMetrics;
use crate::moves::Moves;
use crate::outage::Outage;
use crate::proof::{self, Readable};
use crate::source::SourceLogin;
use crate::worker::chain;

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
    pub(crate) outage: Outage,
    pub(crate) policy: RetryPolicy,
    pub(crate) leases: Leases,
}

/// Performs a push that was claimed after `asked` to its end, whatever that is.
pub(crate) async fn perform(context: Context, claim: Claim, asked: Instant, shutdown: Shutdown) {
    let started = Instant::now();
    let progress = context.metrics.started(claim.registry);
    let mut tenure = context.leases.hold(claim.lease, asked, progress.clone());
    let outcome = tokio::select! {
        outcome = tenure.while_held(attempt(&context, &claim, asked, &progress)) => outcome,
        () = out_of_time(&shutdown) => {
            hand_back(&context, &claim).await;
            return;
        }
    };
    let held_until = tenure.until();
    drop(tenure);
    match outcome {
        Some(outcome) => record(&context, &claim, outcome, started, held_until).await,
        None => tracing::warn!(image.reference = %reference(&claim), "lost the lease, letting go"),
    }
}

async fn attempt(
    context: &Context,
    claim: &Claim,
    asked: Instant,
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
        is_damaged: false,
    };
    let found = look(context, claim, asked, &job).await?;
    let job = Job { is_damaged: found.is_there && !found.is_whole, ..job };
    let moved = if found.is_whole {
        Moved::default()
    } else {
        let moving = context.moves.begin(claim.registry, &claim.owner, claim.is_published).await;
        context.copier.copy(&job, progress, moving, || context.leases.confirm(claim.lease)).await?
    };
    let pullable = if found.is_whole && found.is_proven {
        Pullable::Verified
    } else {
        proof::prove(&context.transport, claim, &destination_repository).await?
    };
    Ok((moved, pullable))
}

/// What lies at the destination before anything moves.
struct Found {
    /// The tag names the image.
    is_there: bool,
    is_whole: bool,
    /// With the READ login.
    is_proven: bool,
}

/// To look is not to move: two questions, with either login, decide that nothing has to, and for what was
/// asked for before also one for every blob.
async fn look(context: &Context, claim: &Claim, asked: Instant, job: &Job<'_>) -> Result<Found, Failure> {
    let (there, readable) = tokio::join!(
        context.copier.look(job),
        proof::look(&context.transport, claim, job.destination_repository)
    );
    let is_there = there?;
    if claim.is_probe {
        lift_hold(context, claim).await;
    }
    let (is_proven, manifest) = match readable {
        Readable::No => (false, None),
        // After a failure a HEAD is no proof: it may be answered where the manifest itself is withheld.
        Readable::Yes => (claim.attempt == 1, None),
        Readable::Read(manifest) => (true, Some(manifest)),
    };
    let is_whole = is_there && (!claim.is_doubted || context.copier.is_whole(job, asked, manifest).await?);
    Ok(Found { is_there, is_whole, is_proven })
}

/// The registry has answered its probe.
async fn lift_hold(context: &Context, claim: &Claim) {
    match context.store.lift_hold(claim).await {
        Ok(true) => tracing::info!(registry.id = %claim.registry, "the registry is back, its pushes go on"),
        Ok(false) => {}
        Err(error) => context.outage.met(&error),
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
    held_until: Instant,
) {
    let jitter = rand::random::<f64>();
    loop {
        let recorded = match &outcome {
            Ok((moved, pullable)) => succeeded(context, claim, *moved, *pullable, started).await,
            Err(failure) => failed(context, claim, failure, jitter, started).await,
        };
        match recorded {
            Ok(()) => return,
            Err(error) if Instant::now() < held_until => {
                context.outage.met(&error);
                tokio::time::sleep(RECORD_PAUSE).await;
            }
            Err(error) => {
                context.outage.met(&error);
                tracing::debug!(image.reference = %reference(claim), "not recorded, it will be done again");
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
        Failed::Again(due) | Failed::Held(due) => ("pending", Some(due)),
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
