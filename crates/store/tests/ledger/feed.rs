//! The webhook's door: every fact once, in order, as soon as it is committed.

use std::time::{Duration, Instant};

use domain::fact::{Fact, Revision};
use domain::push::{Moved, Pullable};
use store::feed::{Feed, FeedError};

use crate::{Yard, digest, to};

async fn facts(feed: &Feed, limit: usize) -> Vec<Fact> {
    let mut all = Vec::new();
    let mut after = Revision(0);
    loop {
        let page = feed.page(after, limit).await.expect("a page");
        all.extend(page.facts);
        assert!(page.upto > after || page.upto == page.head, "a page leads on");
        after = page.upto;
        if after == page.head {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_the_same_facts() {
    let yard = Yard::new().await;
    yard.store.set_source("http://source.example:5000".parse().expect("legal")).await.expect("set");
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    for digit in '0'..='5' {
        yard.build(&algorithm, digit, &format!("v{digit}"), to(registry)).await;
        let claim = yard.claim().await.expect("due");
        yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    }
    yard.store.remove_registry(registry, false).await.expect("removed");
    let feed = Feed::open(&yard.url()).await.expect("opens");
    let whole = facts(&feed, 1000).await;
    assert_eq!(whole.len(), 1 + 1 + 6 + 12 + 6);
    for limit in [1, 2, 5] {
        let mut paged = facts(&feed, limit).await;
        assert_eq!(paged.len(), whole.len());
        paged.retain(|fact| !whole.contains(fact));
        assert_eq!(paged, []);
    }
    assert!(whole.iter().any(|fact| matches!(fact, Fact::Registry { live: false, .. })));
}

#[tokio::test]
async fn a_success_reaches_a_follower_within_half_a_second() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", to(registry)).await;
    let claim = yard.claim().await.expect("due");
    let feed = Feed::open(&yard.url()).await.expect("opens");
    let after = feed.page(Revision(0), 100).await.expect("a page").upto;
    assert!(!feed.changed(Duration::ZERO).await.expect("answers"), "nothing has changed yet");
    let committed = Instant::now();
    yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("answers");
    assert!(feed.changed(Duration::from_secs(10)).await.expect("answers"));
    assert!(committed.elapsed() < Duration::from_millis(500));
    let page = feed.page(after, 100).await.expect("a page");
    let [Fact::Route(route)] = page.facts.as_slice() else { panic!("{:?}", page.facts) };
    assert_eq!((route.registry, route.address.to_string().as_str()), (registry, "r.example/x"));
}

#[tokio::test]
async fn a_database_that_is_gone_or_replaced_is_told_apart() {
    let yard = Yard::new().await;
    let feed = Feed::open(&yard.url()).await.expect("opens");
    let path = yard.folder.path().join("drayage.db");
    let aside = yard.folder.path().join("aside");
    std::fs::rename(&path, &aside).expect("moved");
    assert!(matches!(feed.changed(Duration::ZERO).await, Err(FeedError::Missing(_))));
    std::fs::copy(&aside, &path).expect("copied");
    assert!(matches!(feed.changed(Duration::ZERO).await, Err(FeedError::Replaced(_))));
}

#[tokio::test]
async fn an_image_is_known_by_its_digest_its_hash_and_the_tag_that_was_resolved() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", None).await;
    let feed = Feed::open(&yard.url()).await.expect("opens");
    let mut tags = Vec::new();
    for fact in facts(&feed, 100).await {
        match fact {
            Fact::Image { digest: of, repository, source, .. } => {
                assert_eq!(of.as_str(), digest('a'));
                assert_eq!(repository.as_str(), "algorithms/ann/echo");
                assert_eq!(source.to_string(), "http://source.example:5000");
            }
            Fact::Tag { tag, .. } => tags.push(tag.to_string()),
            other => panic!("{other:?}"),
        }
    }
    tags.sort();
    assert_eq!(tags, ["latest", "v1"]);
}
