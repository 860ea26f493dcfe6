//! Whose turn it is: the order in which due pushes are claimed, and how many.

use domain::Timestamp;
use domain::version::VersionType;
use serde_json::json;
use store::{Publication, PushRequest, Worker};

use crate::{Yard, claim, to, worker};

#[tokio::test]
async fn a_registry_with_many_pushes_does_not_keep_the_others_waiting() {
    let yard = Yard::new().await;
    let (busy, quiet) =
        (yard.registry("busy.example", None).await, yard.registry("quiet.example", None).await);
    let algorithm = yard.algorithm("ann", "echo").await;
    for digit in '0'..='9' {
        yard.build(&algorithm, digit, &format!("v{digit}"), to(busy)).await;
    }
    yard.build(&algorithm, 'a', "va", to(quiet)).await;
    let claims = yard.claims(3).await;
    let registries: Vec<_> = claims.iter().map(|claim| claim.registry).collect();
    assert_eq!(registries, [busy, quiet, busy]);
}

#[tokio::test]
async fn no_more_is_claimed_from_a_registry_than_the_worker_has_room_for() {
    let yard = Yard::new().await;
    let registry = yard.registry("busy.example", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    for digit in '0'..='5' {
        yard.build(&algorithm, digit, &format!("v{digit}"), to(registry)).await;
    }
    let narrow = Worker { at_a_registry: 2, ..worker("narrow") };
    let before = Timestamp::now();
    let claims = yard.store.claim_pushes(&narrow, 9).await.expect("answers");
    assert_eq!(claims.len(), 2);
    assert!(claim(&yard.store, &narrow).await.is_none());
    let next = yard.store.next_due(&narrow).await.expect("answers").expect("a lease runs out");
    assert!(next > before, "a full registry is not due, or its worker would not sleep");
    yard.store.release_push(&claims[0]).await.expect("answers");
    assert!(claim(&yard.store, &narrow).await.is_some());
    assert_eq!(yard.claims(9).await.len(), 4, "another worker has room of its own");
}

#[tokio::test]
async fn owners_take_turns_at_a_registry() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example", None).await;
    let (ann, ben, cat) = (
        yard.algorithm("Ann", "echo").await,
        yard.algorithm("ben", "echo").await,
        yard.algorithm("cat", "echo").await,
    );
    for digit in '0'..='4' {
        yard.build(&ann, digit, &format!("v{digit}"), to(registry)).await;
    }
    yard.build(&ben, 'a', "va", to(registry)).await;
    for digit in ['b', 'c'] {
        yard.build(&cat, digit, &format!("v{digit}"), to(registry)).await;
    }
    let mut turns = Vec::new();
    for _ in 0..4 {
        // One by one and several at once, the order goes on.
        turns.extend(yard.claims(2).await.into_iter().map(|claim| format!("{} {}", claim.owner, claim.tag)));
    }
    assert_eq!(turns, ["ann v0", "ben va", "cat vb", "ann v1", "cat vc", "ann v2", "ann v3", "ann v4"]);
}

#[tokio::test]
async fn the_version_that_was_published_last_goes_before_the_rest_of_its_owners() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example", None).await;
    let (ann, ben) = (yard.algorithm("ann", "echo").await, yard.algorithm("ben", "echo").await);
    for digit in ['1', '2'] {
        yard.build(&ann, digit, &format!("v{digit}"), to(registry)).await;
    }
    yard.build(&ben, '3', "v3", to(registry)).await;
    yard.build(&ann, '4', "v4", None).await;
    let publication = Publication {
        algorithm: ann.uuid,
        raise: VersionType::Minor,
        document: json!({}),
        algorithm_change: json!({}),
        push: Some(PushRequest { registry, login: None }),
    };
    yard.store.publish(publication).await.expect("published");
    // To ask for it once more does not put it back.
    yard.ask_again(&ann, "v4").await;
    let order: Vec<_> = yard.claims(9).await.into_iter().map(|claim| claim.tag.to_string()).collect();
    assert_eq!(order, ["v4", "v3", "v1", "v2"], "and no other owner's turn is taken");
}
