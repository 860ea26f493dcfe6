//! Claims about the inventory of blobs.

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
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let held = yard.store.holders("h.example".to_owned(), repository("new"), vec![digest('1')]).await;
    let held = held.expect("read").remove(&digest('1')).expect("held");
    assert!(!held.here);
    assert_eq!(held.elsewhere, [4, 3, 2].map(|number| repository(&format!("r{number}"))));
}
