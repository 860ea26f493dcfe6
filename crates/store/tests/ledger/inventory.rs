//! Claims about the inventory of blobs.

use std::time::Duration;

use domain::reference::{Digest, Repository};
use store::{HOLDERS_LIMIT, Holders, Holding, Sighting};

use crate::Yard;

fn digest(letter: char) -> Digest {
    crate::digest(letter).parse().expect("legal")
}

fn repository(name: &str) -> Repository {
    name.parse().expect("legal")
}

fn holding(host: &str, name: &str, letter: char) -> Holding {
    Holding { host: host.to_owned(), repository: repository(name), digest: digest(letter) }
}

#[tokio::test]
async fn what_was_seen_is_told_to_other_processes_until_it_is_seen_no_more() {
    let yard = Yard::new().await;
    let present = |host, name, letter| Sighting::Present(holding(host, name, letter));
    let seen = vec![
        present("h.example", "a", '1'),
        present("h.example", "b", '1'),
        present("h.example", "a", '2'),
        present("other.example", "c", '1'),
        present("h.example", "a", '1'),
        Sighting::Absent(holding("h.example", "a", '2')),
    ];
    yard.store.record_sightings(seen).await.expect("recorded");
    let asked = vec![digest('1'), digest('2')];
    let held = yard.again().await.holders("h.example".to_owned(), repository("a"), asked).await;
    let held = held.expect("read");
    assert_eq!(held.len(), 1);
    assert_eq!(held[&digest('1')], Holders { here: true, elsewhere: vec![repository("b")] });
}

#[tokio::test]
async fn of_many_holders_the_few_seen_last_are_told() {
    let yard = Yard::new().await;
    for number in 0..HOLDERS_LIMIT + 2 {
        let seen = Sighting::Present(holding("h.example", &format!("r{number}"), '1'));
        yard.store.record_sightings(vec![seen]).await.expect("recorded");
        // The database's clock has to move on between two sightings.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let held = yard.store.holders("h.example".to_owned(), repository("new"), vec![digest('1')]).await;
    let held = held.expect("read").remove(&digest('1')).expect("held");
    assert!(!held.here);
    assert_eq!(held.elsewhere, [4, 3, 2].map(|number| repository(&format!("r{number}"))));
}

#[tokio::test]
async fn what_is_of_no_use_is_forgotten_step_by_step() {
    const LONG: Duration = Duration::from_secs(3600);
    let yard = Yard::new().await;
    yard.store.set_source("http://source.example:5000".parse().expect("legal")).await.expect("set");
    let [used, left] = ["used.example:443/below", "left.example"].map(|address| yard.registry(address, None));
    let (_used, left) = (used.await, left.await);
    yard.store.remove_registry(left, false).await.expect("removed");
    let hosts = ["used.example:443", "source.example:5000", "left.example"];
    for host in hosts {
        let seen = (0..1_200).map(|n| Sighting::Present(holding(host, &format!("r{n}"), '1'))).collect();
        yard.store.record_sightings(seen).await.expect("recorded");
    }
    let mut steps = Vec::new();
    while let removed @ 1.. = yard.store.prune_inventory(LONG, 2_000).await.expect("pruned") {
        steps.push(removed);
    }
    assert!(steps.len() > 1 && steps.iter().sum::<u64>() >= 1_600, "{steps:?}");
    let held = async |host: &str, number| {
        let held = yard.store.holders(host.to_owned(), repository(&format!("r{number}")), vec![digest('1')]);
        held.await.expect("read").contains_key(&digest('1'))
    };
    assert!(!held("left.example", 0).await);
    assert!(held("source.example:5000", 1_199).await, "the ones seen last are kept");
    while yard.store.prune_inventory(Duration::ZERO, 2_000).await.expect("pruned") > 0 {}
    assert!(!held("source.example:5000", 1_199).await, "what was not seen for too long is forgotten");
}
