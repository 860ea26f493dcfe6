//! Builds, versions and publications.

use domain::version::VersionType;
use serde_json::json;
use store::{
    BuildStatus, CreateAlgorithmError, NewBuild, PageRequest, Publication, PublishError, VersionFilter,
};
use uuid::Uuid;

use crate::{Yard, build_of};

fn publication(algorithm: Uuid) -> Publication {
    Publication {
        algorithm,
        raise: VersionType::Minor,
        document: json!({"release_notes": "x"}),
        algorithm_change: json!({}),
        push: None,
    }
}

#[tokio::test]
async fn the_same_digest_compiled_twice_is_one_version() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let one = yard.build(&algorithm, 'a', "v1", None).await;
    let two = yard.build(&algorithm, 'a', "other", None).await;
    assert_eq!((one.uuid, one.hash.as_str()), (two.uuid, two.hash.as_str()));
    assert_ne!(one.build.uuid, two.build.uuid);
    let rebuilt = yard.build(&algorithm, 'b', "v1", None).await;
    assert_eq!(rebuilt.uuid, one.uuid, "the commit's version has another image now");
    assert_eq!(rebuilt.digest.as_str(), crate::digest('b'));
}

#[tokio::test]
async fn a_publication_numbers_the_newest_successful_build_once() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let early = yard.store.publish(publication(algorithm.uuid)).await;
    assert!(matches!(early, Err(PublishError::NeverBuilt)));
    yard.build(&algorithm, 'a', "v1", None).await;
    let failed = NewBuild { image: None, ..build_of(&algorithm, 'b', "v2", None) };
    let failed = yard.store.record_build(failed).await.expect("recorded");
    assert_eq!((failed.build.status, failed.version.is_none()), (BuildStatus::Failed, true));
    let published = yard.store.publish(publication(algorithm.uuid)).await.expect("published");
    assert_eq!(published.number.map(|number| number.to_string()).as_deref(), Some("0.1.0"));
    let again = yard.store.publish(publication(algorithm.uuid)).await;
    assert!(matches!(again, Err(PublishError::AlreadyPublished)));
    yard.build(&algorithm, 'c', "v3", None).await;
    let published = yard.store.publish(publication(algorithm.uuid)).await.expect("published");
    assert_eq!(published.number.map(|number| number.to_string()).as_deref(), Some("0.2.0"));
}

#[tokio::test]
async fn versions_are_paged_newest_first() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("ann", "echo").await;
    for digit in '0'..='4' {
        yard.build(&algorithm, digit, &format!("v{digit}"), None).await;
    }
    yard.store.publish(publication(algorithm.uuid)).await.expect("published");
    let mut hashes = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { limit: 2, after };
        let versions = yard.store.versions(algorithm.uuid, VersionFilter::default(), page).await;
        let versions = versions.expect("answers").expect("a marker of this list");
        let Some(last) = versions.last() else { break };
        after = Some(last.uuid);
        hashes.extend(versions.iter().map(|version| version.hash.to_string()));
    }
    assert_eq!(hashes, ["v4", "v3", "v2", "v1", "v0"]);
    let stranger = PageRequest { limit: 2, after: Some(Uuid::new_v4()) };
    let unknown = yard.store.versions(algorithm.uuid, VersionFilter::default(), stranger).await;
    assert!(unknown.expect("answers").is_none());
    let published = VersionFilter { published: Some(true) };
    let page = PageRequest { limit: 9, after: None };
    let versions =
        yard.store.versions(algorithm.uuid, published, page).await.expect("answers").expect("a page");
    assert_eq!(versions.len(), 1);
}

#[tokio::test]
async fn names_are_taken_in_every_case_until_the_algorithm_is_gone() {
    let yard = Yard::new().await;
    let algorithm = yard.algorithm("Ann", "Echo").await;
    let (owner, name) = ("ann".parse().expect("legal"), "ECHO".parse().expect("legal"));
    let taken = yard.store.create_algorithm(owner, name, json!({})).await;
    assert!(matches!(taken, Err(CreateAlgorithmError::NameTaken)));
    yard.build(&algorithm, 'a', "v1", None).await;
    assert!(yard.store.remove_algorithm(algorithm.uuid).await.expect("answers"));
    let again = yard.algorithm("ann", "echo").await;
    let version = yard.build(&again, 'a', "v1", None).await;
    assert_eq!(version.hash.as_str(), "v1", "the image has a version in the new algorithm too");
}
