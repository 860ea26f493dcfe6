//! Tables over what is stored and the time.

use std::time::UNIX_EPOCH;

use super::*;

const LIVES: Lives = Lives {
    authority: Duration::from_secs(9_000),
    leaf: Duration::from_secs(900),
    settling: Duration::from_secs(60),
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn names() -> Vec<String> {
    vec!["drayage-webhook.drayage.svc".to_owned()]
}

fn authorities(born: u64) -> Authorities {
    Authorities::issue(Vec::new(), at(born), LIVES.authority).unwrap()
}

#[test]
fn an_authority_is_renewed_at_two_thirds_of_its_life_or_when_it_cannot_be_used() {
    let stored = Ok(authorities(0));
    for (now, because) in [
        (0, None),
        (5_999, None),
        (6_000, Some(Because::Due)),
        (8_999, Some(Because::Due)),
        (9_000, Some(Because::Expired)),
        (90_000, Some(Because::Expired)),
    ] {
        assert_eq!(new_authority(&stored, at(now), &LIVES), because, "{now}");
    }
    for flaw in [Flaw::Missing, Flaw::Certificate, Flaw::Key, Flaw::Mismatch] {
        assert_eq!(new_authority(&Err(flaw), at(0), &LIVES), Some(Because::Flaw(flaw)));
    }
}

#[test]
fn a_former_authority_is_trusted_until_its_last_leaf_has_expired() {
    let former = authorities(0).certificates;
    let stored = Authorities::issue(former.clone(), at(6_000), LIVES.authority).unwrap();
    let [newest, former] = [&stored.certificates[0], &former[0]];
    for (now, expected) in
        [(6_000, vec![newest, former]), (6_900, vec![newest, former]), (6_901, vec![newest])]
    {
        assert_eq!(trusted(&stored, at(now), &LIVES).iter().collect::<Vec<_>>(), expected, "{now}");
    }
    // One that has expired while nobody was there has no leaf that could be served.
    let stored = Authorities::issue(vec![former.clone()], at(9_000), LIVES.authority).unwrap();
    assert_eq!(trusted(&stored, at(9_000), &LIVES).len(), 1);
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life_once_its_authority_is_trusted() {
    let authorities = authorities(0);
    let leaf = Ok(authorities.leaf(&names(), at(0), LIVES.leaf).unwrap());
    for (now, trusted_since, next) in [
        (0, Some(0), Next::Serve),
        (599, Some(0), Next::Serve),
        (600, Some(0), Next::Issue(Because::Due)),
        (600, Some(541), Next::Serve),
        (601, Some(541), Next::Issue(Because::Due)),
        (600, None, Next::Serve),
        (900, Some(900), Next::Issue(Because::Expired)),
        (900, None, Next::Await(Because::Expired)),
    ] {
        let decided = next_leaf(&leaf, &authorities, &names(), trusted_since.map(at), at(now), &LIVES);
        assert_eq!(decided, next, "{now} {trusted_since:?}");
    }
}

#[test]
fn a_leaf_that_nobody_would_accept_is_replaced_at_once() {
    let ours = authorities(0);
    let stranger = authorities(0).leaf(&names(), at(0), LIVES.leaf).unwrap();
    let other = ours.leaf(&["drayage-webhook.other.svc".to_owned()], at(0), LIVES.leaf).unwrap();
    for (leaf, because) in [
        (Ok(stranger), Because::Stranger),
        (Ok(other), Because::OtherNames),
        (Err(Flaw::Missing), Because::Flaw(Flaw::Missing)),
        (Err(Flaw::Mismatch), Because::Flaw(Flaw::Mismatch)),
    ] {
        for (trusted_since, next) in [(Some(at(1)), Next::Issue(because)), (None, Next::Await(because))] {
            let decided = next_leaf(&leaf, &ours, &names(), trusted_since, at(1), &LIVES);
            assert_eq!(decided, next, "{leaf:?}");
        }
    }
}

#[test]
fn a_new_authority_settles_before_its_first_leaf_replaces_one_that_does() {
    let former = authorities(0);
    let leaf = Ok(former.leaf(&names(), at(5_900), LIVES.leaf).unwrap());
    let new = Authorities::issue(former.certificates, at(6_000), LIVES.authority).unwrap();
    for (now, trusted_since, next) in [
        (6_000, None, Next::Serve),
        (6_001, Some(6_001), Next::Serve),
        (6_060, Some(6_001), Next::Serve),
        (6_061, Some(6_001), Next::Issue(Because::NewAuthority)),
        // Nobody has written it for so long that nothing is left to wait for.
        (6_800, Some(6_800), Next::Issue(Because::Expired)),
    ] {
        let decided = next_leaf(&leaf, &new, &names(), trusted_since.map(at), at(now), &LIVES);
        assert_eq!(decided, next, "{now} {trusted_since:?}");
    }
}

#[test]
fn what_is_stored_is_read_back() {
    let authorities = authorities(0);
    let bundle: String = authorities.certificates.iter().map(Authority::pem).collect();
    let read = Authorities::read(bundle.as_bytes(), authorities.key.pem()).unwrap();
    assert_eq!(read.certificates, authorities.certificates);
    let leaf = read.leaf(&names(), at(0), LIVES.leaf).unwrap();
    let again = Leaf::read(leaf.chain.as_bytes(), leaf.key.pem()).unwrap();
    assert_eq!((again.expires, &again.names), (leaf.expires, &names()));
    assert!(authorities.certificates[0].issued(&again));
    for (chain, key, flaw) in [
        ("", leaf.key.pem(), Flaw::Certificate),
        ("rubbish", leaf.key.pem(), Flaw::Certificate),
        (&leaf.chain, b"rubbish", Flaw::Key),
        (&leaf.chain, authorities.key.pem(), Flaw::Mismatch),
    ] {
        assert_eq!(Leaf::read(chain.as_bytes(), key).unwrap_err(), flaw);
    }
    // A server's certificate is no authority, whoever puts it there.
    assert_eq!(Authorities::read(leaf.chain.as_bytes(), leaf.key.pem()).unwrap_err(), Flaw::Mismatch);
    assert!(!format!("{leaf:?} {authorities:?}").contains("PRIVATE"));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let authorities = authorities(0);
    let leaf = authorities.leaf(&names(), at(8_900), LIVES.leaf).unwrap();
    assert_eq!(leaf.expires, at(9_000));
}
