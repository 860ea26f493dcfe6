//! Registries on hold: their pushes wait together, and one finds out when they are back.

use domain::Timestamp;
use domain::push::{DOWN_LIMIT, Failure, Moved, Pullable, PushStatus, Reason};
use rusqlite::Connection;
use store::{Claim, Failed, LoginChange, RegistryChange, Worker};

use crate::{POLICY, Yard, claim, to, worker};

fn down() -> Failure {
    Failure {
        registry_down: true,
        registry_wide: true,
        ..Failure::new(Reason::DestinationUnreachable, "connection refused")
    }
}

/// A yard with five pushes to one registry.
async fn five(yard: &Yard, address: &str) -> store::Algorithm {
    let registry = yard.registry(address, None).await;
    let name = address.split('.').next().expect("a name");
    let algorithm = yard.algorithm("ann", name).await;
    for digit in '1'..='5' {
        yard.build(&algorithm, digit, &format!("v{digit}"), to(registry)).await;
    }
    algorithm
}

impl Yard {
    async fn fail(&self, claim: &Claim, failure: Failure) -> Failed {
        self.store.fail_push(claim, failure, POLICY, 0.0).await.expect("the database answers")
    }

    /// Lets so many milliseconds pass for whatever waits.
    fn pass(&self, ms: i64) {
        let db = Connection::open(self.folder.path().join("drayage.db")).expect("opens");
        db.execute(
            "UPDATE registry_hold SET held_until = held_until - ?1, held_since = held_since - ?1",
            [ms],
        )
        .expect("moved");
        db.execute("UPDATE push SET due_at = due_at - ?1, down_since = down_since - ?1, requested_at = requested_at - ?1", [ms])
            .expect("moved");
    }

    async fn probe(&self) -> Claim {
        let mut claims = self.claims(9).await;
        assert_eq!(claims.len(), 1, "one looks for all");
        assert!(claims[0].is_probe);
        claims.swap_remove(0)
    }
}

#[tokio::test]
async fn pushes_to_a_registry_that_is_down_wait_together_and_one_finds_it_back_for_all() {
    let yard = Yard::new().await;
    let algorithm = five(&yard, "a.example").await;
    let before = Timestamp::now();
    let under_way = yard.claims(2).await;
    for claim in &under_way {
        assert!(matches!(yard.fail(claim, down()).await, Failed::Held(_)));
    }
    assert!(yard.claim().await.is_none());
    let due = yard.store.next_due(&worker("test")).await.expect("answers").expect("a look is due");
    assert!(due > before);
    for hash in ["v1", "v5"] {
        let record = yard.record(&algorithm, hash).await;
        assert_eq!(
            (record.status, record.reason),
            (PushStatus::Pending, Some(Reason::DestinationUnreachable))
        );
        let message = record.message.expect("it says why");
        assert!(
            message.starts_with("connection refused; ") && message.contains("next look at 20"),
            "{message}"
        );
    }

    yard.pass(60_000);
    let probe = yard.probe().await;
    assert!(yard.claim().await.is_none(), "the others wait for it");
    let told = yard.record(&algorithm, "v5").await.message.expect("it says why");
    assert!(told.ends_with("looked for now"), "{told}");
    assert!(matches!(yard.fail(&probe, down()).await, Failed::Held(_)));
    assert!(yard.claim().await.is_none());

    yard.pass(60_000);
    let probe = yard.probe().await;
    assert!(yard.store.lift_hold(&probe).await.expect("answers"));
    assert_eq!(yard.claims(9).await.len(), 4, "all others go on at once");
    assert_eq!(yard.record(&algorithm, "v5").await.message, None);
}

#[tokio::test]
async fn a_hold_ends_with_a_probe_that_fails_for_itself_and_with_any_success() {
    let yard = Yard::new().await;
    five(&yard, "a.example").await;
    let [one, two] = <[Claim; 2]>::try_from(yard.claims(2).await).expect("two");
    yard.fail(&one, down()).await;
    yard.store.finish_push(&two, Moved::default(), Pullable::Verified).await.expect("answers");
    let mut claims = yard.claims(2).await;
    assert_eq!(claims.len(), 2);
    yard.fail(&claims.remove(0), down()).await;
    yard.pass(60_000);
    let probe = yard.probe().await;
    assert_eq!(yard.fail(&probe, Failure::new(Reason::Denied, "403")).await, Failed::Over);
    assert!(yard.claim().await.is_some());
}

#[tokio::test]
async fn a_probe_whose_worker_died_is_followed_by_another() {
    let yard = Yard::new().await;
    five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    yard.fail(&first, down()).await;
    yard.pass(60_000);
    let dead = yard.probe().await;
    let db = Connection::open(yard.folder.path().join("drayage.db")).expect("opens");
    db.execute("UPDATE push SET leased_until = 1 WHERE leased_until IS NOT NULL", []).expect("run out");
    let next = yard.probe().await;
    assert!(!yard.store.lift_hold(&dead).await.expect("answers"), "it has lost its lease");
    assert!(yard.store.lift_hold(&next).await.expect("answers"));
}

#[tokio::test]
async fn a_push_that_is_asked_for_again_is_the_next_probe_at_once() {
    let yard = Yard::new().await;
    let algorithm = five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    yard.fail(&first, down()).await;
    assert!(yard.claim().await.is_none());
    yard.ask_again(&algorithm, "v4").await;
    let probe = yard.probe().await;
    assert_eq!((probe.tag.as_str(), probe.attempt), ("v4", 1));
    // Also while another one looks.
    yard.ask_again(&algorithm, "v2").await;
    assert_eq!(yard.probe().await.tag.as_str(), "v2");
    assert!(yard.claim().await.is_none());
    // And where the worker has no room left.
    yard.ask_again(&algorithm, "v3").await;
    let full = Worker { at_a_registry: 0, ..worker("full") };
    assert_eq!(claim(&yard.store, &full).await.expect("due").tag.as_str(), "v3");
    assert!(claim(&yard.store, &full).await.is_none());
}

#[tokio::test]
async fn a_registry_on_hold_holds_up_no_other() {
    let yard = Yard::new().await;
    five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    yard.fail(&first, down()).await;
    let other = five(&yard, "b.example").await;
    let claims = yard.claims(9).await;
    assert_eq!(claims.len(), 5);
    assert!(claims.iter().all(|claim| claim.registry != first.registry && !claim.is_probe));
    assert_eq!(yard.record(&other, "v1").await.message, None);
}

#[tokio::test]
async fn a_registry_that_asks_to_be_left_alone_costs_its_own_push_a_try_and_the_others_none() {
    let yard = Yard::new().await;
    let algorithm = five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    let busy = Failure {
        registry_wide: true,
        retry_after: Some(std::time::Duration::from_secs(30)),
        ..Failure::new(Reason::RateLimited, "429")
    };
    assert!(matches!(yard.fail(&first, busy).await, Failed::Again(_)));
    assert!(yard.claim().await.is_none());
    let tried = yard.record(&algorithm, "v1").await.message.expect("it says why");
    assert!(tried.starts_with("429; try 1 of 3"), "{tried}");
    let waiting = yard.record(&algorithm, "v2").await;
    assert_eq!((waiting.reason, waiting.attempts), (Some(Reason::RateLimited), 0));
    yard.pass(29_000);
    assert!(yard.claim().await.is_none());
    yard.pass(1_000);
    yard.probe().await;
}

#[tokio::test]
async fn what_has_waited_for_a_day_has_failed_and_what_came_later_waits_on() {
    let yard = Yard::new().await;
    let algorithm = five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    yard.fail(&first, down()).await;
    yard.pass(DOWN_LIMIT.as_millis() as i64 - 60_000);
    yard.fail(&yard.probe().await, down()).await;
    assert_eq!(yard.record(&algorithm, "v2").await.status, PushStatus::Pending);
    yard.ask_again(&algorithm, "v5").await;
    yard.fail(&yard.probe().await, down()).await;
    yard.pass(60_000);
    yard.fail(&yard.probe().await, down()).await;
    for hash in ["v1", "v2", "v3", "v4"] {
        let record = yard.record(&algorithm, hash).await;
        assert_eq!(
            (record.status, record.reason),
            (PushStatus::Failed, Some(Reason::DestinationUnreachable))
        );
        assert!(record.message.is_some_and(|told| told.contains("given up")));
    }
    assert_eq!(yard.record(&algorithm, "v5").await.status, PushStatus::Pending);
}

#[tokio::test]
async fn a_registry_that_is_put_elsewhere_is_on_hold_no_more() {
    let yard = Yard::new().await;
    five(&yard, "a.example").await;
    let first = yard.claim().await.expect("due");
    yard.fail(&first, down()).await;
    let address = "a.example/below".parse().expect("legal");
    let change = RegistryChange { address, name: None, login: LoginChange::Keep };
    yard.store.replace_registry(first.registry, change).await.expect("replaced");
    assert_eq!(yard.claims(9).await.len(), 5);
}
