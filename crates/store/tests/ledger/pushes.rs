//! A push: one writer, its lease, its generations, what is kept of its tries.

use std::time::Duration;

use domain::push::{Failure, Moved, Pullable, PushStatus, Reason};
use rusqlite::Connection;
use store::{Failed, Finished, PushRefused, RecordError, Renewal, Worker};
use uuid::Uuid;

use crate::{LEASE, POLICY, Yard, build_of, claim, digest, to, worker};

#[tokio::test]
async fn a_claimed_push_is_nobody_elses_until_its_lease_runs_out() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let other = yard.again().await;
    let short = Worker { lease: Duration::from_millis(1), ..worker("one") };
    let first = claim(&yard.store, &short).await.expect("due");
    let second = loop {
        if let Some(claim) = claim(&other, &worker("two")).await {
            break claim;
        }
    };
    assert_eq!(second.attempt, 2);
    let renewals =
        [&first, &second].map(|claim| Renewal { lease: claim.lease, bytes_done: 0, bytes_total: 9 });
    let held = yard.store.renew_leases(renewals.to_vec(), LEASE).await.expect("answers");
    assert_eq!(held, [false, true]);
    let lost = yard.store.finish_push(&first, Moved::default(), Pullable::Verified).await.expect("answers");
    assert_eq!(lost, Finished::LeaseLost);
    let failure = Failure::new(Reason::Internal, "late");
    let lost = yard.store.fail_push(&first, failure, POLICY, 0.0).await.expect("answers");
    assert_eq!(lost, Failed::LeaseLost);
    let done = other.finish_push(&second, Moved::default(), Pullable::Verified).await.expect("answers");
    assert_eq!(done, Finished::Succeeded);
    assert!(yard.claim().await.is_none());
}

#[tokio::test]
async fn a_push_asked_for_again_while_it_runs_ends_with_what_was_asked_last() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let old = yard.claim().await.expect("due");
    // The commit was rebuilt to another digest under the same hash.
    let version = yard.build(&algorithm, 'b', "v1", to(registry)).await;
    assert!(yard.claim().await.is_none(), "a second writer is never opened");
    let outdated = yard.store.finish_push(&old, Moved::default(), Pullable::Verified).await.expect("answers");
    assert_eq!(outdated, Finished::Outdated);
    let new = yard.claim().await.expect("due again");
    assert_eq!((old.digest.as_str(), new.digest.as_str()), (&*digest('a'), &*digest('b')));
    yard.store
        .finish_push(&new, Moved { uploaded: 7, ..Moved::default() }, Pullable::Verified)
        .await
        .expect("answers");
    let records = yard.store.push_records(algorithm.uuid, version.hash).await.expect("answers");
    assert_eq!(records.len(), 1, "one record a registry");
    assert_eq!((records[0].status, records[0].bytes_done), (PushStatus::Succeeded, 7));
    assert_eq!(records[0].image, "r.example/x/algorithms/ann/echo:v1");
}

#[tokio::test]
async fn a_released_push_is_due_at_once() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let claim = yard.claim().await.expect("due");
    yard.store.release_push(&claim).await.expect("answers");
    assert!(yard.claim().await.is_some());
}

#[tokio::test]
async fn a_failed_push_waits_with_its_reason_and_a_new_request_forgets_it() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let claim = yard.claim().await.expect("due");
    let failure = Failure::new(Reason::ScanBlocked, "412");
    let again = yard.store.fail_push(&claim, failure, POLICY, 1.0).await.expect("answers");
    assert!(matches!(again, Failed::Again(_)), "{again:?}");
    let record = yard.record(&algorithm, "v1").await;
    assert_eq!((record.status, record.reason), (PushStatus::Pending, Some(Reason::ScanBlocked)));
    assert!(record.message.as_ref().is_some_and(|text| text.starts_with("412; try 1 of 3, next at ")));
    assert!(yard.store.next_due(&worker("test")).await.expect("answers").is_some());
    yard.ask_again(&algorithm, "v1").await;
    let record = yard.record(&algorithm, "v1").await;
    assert_eq!((record.reason, record.attempts), (None, 0));
    assert!(yard.claim().await.is_some(), "due at once");
}

#[tokio::test]
async fn a_push_under_way_once_more_tells_how_its_last_try_failed() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let first = yard.claim().await.expect("due");
    let failure = Failure { retry_after: Some(Duration::ZERO), ..Failure::new(Reason::ScanBlocked, "412") };
    yard.store.fail_push(&first, failure, POLICY, 0.0).await.expect("answers");
    let second = loop {
        if let Some(claim) = yard.claim().await {
            break claim;
        }
    };
    let record = yard.record(&algorithm, "v1").await;
    assert_eq!(record.message.as_deref(), Some("try 2 is under way; the last one failed: 412"));
    yard.ask_again(&algorithm, "v1").await;
    let record = yard.record(&algorithm, "v1").await;
    assert_eq!((record.status, record.message, record.attempts), (PushStatus::InProgress, None, 1));
    yard.store.release_push(&second).await.expect("answers");
}

#[tokio::test]
async fn a_lease_that_a_registry_has_ended_is_held_no_more() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let lease = yard.claim().await.expect("due").lease;
    assert_eq!(yard.store.held_leases(vec![lease]).await.expect("answers"), [true]);
    yard.store.remove_registry(registry, false).await.expect("removed");
    assert_eq!(yard.store.held_leases(vec![lease]).await.expect("answers"), [false]);
}

#[tokio::test]
async fn a_push_to_an_unknown_registry_records_nothing_at_all() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let unknown = domain::registry::RegistryId(Uuid::new_v4());
    let refused = yard.store.record_build(build_of(&algorithm, 'a', "v1", to(unknown))).await;
    assert!(matches!(refused, Err(RecordError::Push(PushRefused::RegistryUnknown))));
    assert!(yard.store.latest_version(algorithm.uuid).await.expect("answers").is_none());
    let db = Connection::open(yard.folder.path().join("drayage.db")).expect("opens");
    let images: i64 = db.query_one("SELECT count(*) FROM image", [], |row| row.get(0)).expect("counts");
    assert_eq!(images, 0);
}

#[tokio::test]
async fn the_last_twenty_tries_are_kept() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let version = yard.build(&algorithm, 'a', "v1", to(registry)).await;
    for _ in 0..25 {
        let claim = yard.claim().await.expect("due");
        yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
        yard.store.request_push(algorithm.uuid, version.hash.clone(), None, None).await.expect("answers");
    }
    let db = Connection::open(yard.folder.path().join("drayage.db")).expect("opens");
    let kept: i64 = db.query_one("SELECT count(*) FROM attempt", [], |row| row.get(0)).expect("counts");
    assert_eq!(kept, 20);
}
