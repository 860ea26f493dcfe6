//! Decision 1 as claims, and the table against a straightforward model over generated facts.

use domain::fact::Fact;

use crate::decision::{Decision, NoRoute};
use crate::ledger::*;
use crate::table::Table;

const CORP: &str = "corp.example/mirror";
const OTHER: &str = "other.example";

fn pulled(table: &Table, image: &str) -> String {
    match table.decide(image) {
        Decision::Routed(routed) if routed.behind => format!("{} (behind)", routed.to),
        Decision::Routed(routed) => routed.to,
        Decision::Destination { .. } => "destination".to_owned(),
        Decision::Unrouted(NoRoute::NeverCompiled) => "unknown".to_owned(),
        Decision::Unrouted(NoRoute::NeverPushed) => "unpushed".to_owned(),
        Decision::Unrouted(NoRoute::RegistriesDeleted) => "deleted".to_owned(),
        Decision::Foreign => "foreign".to_owned(),
    }
}

fn hello(rest: &str) -> String {
    format!("{SOURCE}/ann/hello{rest}")
}

#[test]
fn a_tag_is_pulled_under_the_tag_of_the_push_and_a_digest_by_digest() {
    let table = table([one_route(), vec![tag(1, "v1", 3)]].concat());
    let by_digest = format!("{CORP}/ann/hello@{}", digest(1));
    assert_eq!(pulled(&table, &hello(":abc")), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&table, &hello(":v1")), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&table, &hello(&format!("@{}", digest(1)))), by_digest);
    assert_eq!(pulled(&table, &hello(&format!(":other@{}", digest(1)))), by_digest);
}

#[test]
fn no_tag_means_latest() {
    assert_eq!(pulled(&table(one_route()), &hello("")), "unknown");
    let table = table([one_route(), vec![tag(1, "latest", 3)]].concat());
    assert_eq!(pulled(&table, &hello("")), format!("{CORP}/ann/hello:abc"));
}

#[test]
fn the_latest_success_decides_and_not_the_order_of_facts() {
    for reversed in [false, true] {
        let mut facts = one_route();
        facts.extend([registry(2, true), route(1, 2, OTHER, "abc", 9)]);
        if reversed {
            facts.reverse();
        }
        assert_eq!(pulled(&table(facts), &hello(":abc")), format!("{OTHER}/ann/hello:abc"));
    }
}

#[test]
fn a_tag_goes_to_the_latest_success_among_its_carriers_and_says_when_the_newest_is_not_pushed() {
    let mut facts = one_route();
    facts.extend([tag(1, "v1", 3), image(2, SOURCE, "ann/hello"), tag(2, "v1", 4), tag(2, "def", 4)]);
    assert_eq!(pulled(&table(facts.clone()), &hello(":v1")), format!("{CORP}/ann/hello:abc (behind)"));
    assert_eq!(pulled(&table(facts.clone()), &hello(":def")), "unpushed");
    facts.push(route(2, 1, CORP, "def", 5));
    assert_eq!(pulled(&table(facts.clone()), &hello(":v1")), format!("{CORP}/ann/hello:def"));
    facts.push(route(1, 1, CORP, "abc", 6));
    assert_eq!(pulled(&table(facts), &hello(":v1")), format!("{CORP}/ann/hello:abc"));
}

#[test]
fn a_deleted_registry_is_skipped_for_the_next_latest_success_and_comes_back_with_its_fact() {
    let mut table = table([one_route(), vec![registry(2, true), route(1, 2, OTHER, "abc", 9)]].concat());
    table.apply(registry(2, false));
    assert_eq!(pulled(&table, &hello(":abc")), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&table, "other.example/ann/hello:abc"), "foreign");
    table.apply(registry(1, false));
    assert_eq!(pulled(&table, &hello(":abc")), "deleted");
    table.apply(registry(2, true));
    assert_eq!(pulled(&table, &hello(":abc")), format!("{OTHER}/ann/hello:abc"));
}

#[test]
fn a_route_stays_where_it_was_proven_until_the_next_success() {
    let mut table = table(one_route());
    table.apply(route(1, 1, "new.example", "abc", 7));
    assert_eq!(pulled(&table, &hello(":abc")), "new.example/ann/hello:abc");
    assert_eq!(pulled(&table, &format!("{CORP}/ann/hello:abc")), "foreign");
    assert_eq!(pulled(&table, "new.example/ann/hello:anything"), "destination");
    assert_eq!(table.routes(), 1);
}

#[test]
fn a_snapshot_does_not_see_later_facts() {
    let before = table(one_route());
    let mut after = before.clone();
    after.apply(registry(1, false));
    assert_eq!(pulled(&before, &hello(":abc")), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&after, &hello(":abc")), "deleted");
}

#[test]
fn a_prefix_of_a_host_or_path_is_another_name() {
    let table = table(one_route());
    for image in [
        "registry.local:50001/built/ann/hello:abc",
        "registry.local/built/ann/hello:abc",
        "registry.local:5000/builtin/ann/hello:abc",
        "registry.local:5000/ann/hello:abc",
        "registry.local:5000/built/ann/hello2:abc",
        "corp.example/mirror/ann/hell",
        "corp.example/mirror2/ann/hello",
        "corp.example:5000/mirror/ann/hello",
        "not a reference",
        "",
    ] {
        assert_eq!(pulled(&table, image), "foreign", "{image}");
    }
}

#[test]
fn every_spelling_of_a_registry_names_it() {
    let cases = [
        ("registry.local:5000", "REGISTRY.local:5000/ann/hello:abc"),
        ("registry.local", "registry.local:443/ann/hello:abc"),
        ("registry.local:443", "registry.local/ann/hello:abc"),
        ("http://registry.local", "registry.local:80/ann/hello:abc"),
        ("http://registry.local:80", "registry.local/ann/hello:abc"),
        ("[::1]:5000", "[::1]:5000/ann/hello:abc"),
        ("[::1]:443", "[::1]/ann/hello:abc"),
        ("docker.io", "ann/hello:abc"),
        ("docker.io", "index.docker.io/ann/hello:abc"),
        ("index.docker.io", "docker.io/ann/hello:abc"),
    ];
    for (address, asked) in cases {
        let facts = |at: &str| {
            vec![
                registry(1, true),
                image(1, at, "ann/hello"),
                tag(1, "abc", 1),
                route(1, 1, "x.example", "abc", 1),
            ]
        };
        assert_eq!(pulled(&table(facts(address)), asked), "x.example/ann/hello:abc", "{address}");
        let pushed = [facts("other.local"), vec![route(1, 1, address, "abc", 2)]].concat();
        assert_eq!(pulled(&table(pushed), asked), "destination", "{address}");
    }
    let facts = [image(1, "http://registry.local", "ann/hello"), tag(1, "abc", 1)];
    assert_eq!(pulled(&table(facts), "registry.local:443/ann/hello:abc"), "foreign");
}

#[test]
fn an_image_is_found_however_its_source_was_spelled_when_it_was_compiled() {
    let mut facts = vec![registry(1, true), tag(1, "abc", 1), route(1, 1, CORP, "abc", 1)];
    facts.extend([image(1, "one.example", "ann/hello"), image(2, "http://one.example:443", "ann/hello")]);
    let Fact::Image { id, repository, digest, .. } = image(1, "one.example", "ann/hello") else {
        unreachable!()
    };
    let respelled = Fact::Image {
        id: domain::fact::ImageId(id.0 + 2),
        source: "one.example:443".parse().unwrap(),
        repository,
        digest: digest.clone(),
    };
    let table = table([facts, vec![respelled]].concat());
    for asked in ["one.example/ann/hello:abc", "one.example:443/ann/hello:abc"] {
        assert_eq!(pulled(&table, asked), format!("{CORP}/ann/hello:abc"));
    }
    let asked = format!("one.example/ann/hello@{digest}");
    assert_eq!(pulled(&table, &asked), format!("{CORP}/ann/hello@{digest}"));
}

#[test]
fn docker_hubs_library_may_be_left_out() {
    let facts = [registry(1, true), image(1, "docker.io", "library/redis"), tag(1, "7", 1)];
    let table = table([facts.to_vec(), vec![route(1, 1, "x.example", "7", 1)]].concat());
    for image in ["redis:7", "docker.io/library/redis:7", "index.docker.io/redis:7"] {
        assert_eq!(pulled(&table, image), "x.example/library/redis:7");
    }
}

#[test]
fn an_alias_names_the_current_source_registry_only() {
    let aliases = ["pods.example/proxy".parse().unwrap(), "10.0.0.1:443".parse().unwrap()];
    let mut table = Table::new([1; 16], &aliases);
    one_route().into_iter().for_each(|fact| table.apply(fact));
    assert_eq!(pulled(&table, "pods.example/proxy/ann/hello:abc"), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&table, "10.0.0.1/ann/hello:abc"), format!("{CORP}/ann/hello:abc"));
    assert_eq!(pulled(&table, "pods.example/ann/hello:abc"), "foreign");
    table.apply(source("elsewhere.example"));
    assert_eq!(pulled(&table, "pods.example/proxy/ann/hello:abc"), "foreign");
    assert_eq!(pulled(&table, &hello(":abc")), format!("{CORP}/ann/hello:abc"));
}

#[test]
fn a_destination_below_the_source_host_is_no_source() {
    let facts = [
        registry(1, true),
        image(1, "one.example", "ann/hello"),
        tag(1, "abc", 1),
        route(1, 1, "one.example/mirror", "abc", 1),
    ];
    let table = table(facts);
    assert_eq!(pulled(&table, "one.example/ann/hello:abc"), "one.example/mirror/ann/hello:abc");
    assert_eq!(pulled(&table, "one.example/mirror/ann/hello:abc"), "destination");
}

#[test]
fn the_sentence_names_what_decided() {
    let table = table([one_route(), vec![image(2, SOURCE, "ann/hello"), tag(2, "abc", 8)]].concat());
    let asked = hello(":abc");
    assert_eq!(
        table.decide(&asked).sentence(&asked),
        "registry.local:5000/built/ann/hello:abc is pulled as corp.example/mirror/ann/hello:abc, as last pushed to registry r1 (00000000-0000-0000-0000-000000000001) at revision 2; the newest image of this tag is not pushed yet"
    );
}

#[test]
fn the_sentence_of_an_image_without_a_route_says_why() {
    let mut table = table([one_route(), vec![image(2, SOURCE, "ann/hello"), tag(2, "def", 4)]].concat());
    table.apply(registry(1, false));
    for (asked, why) in [
        (hello(":abc"), "was pushed only to registries that have been deleted since"),
        (hello(&format!("@{}", digest(1))), "was pushed only to registries that have been deleted since"),
        (hello(":def"), "was compiled, but no push of it has succeeded yet"),
        (hello(&format!("@{}", digest(2))), "was compiled, but no push of it has succeeded yet"),
        (hello(":xyz"), "is in a source repository, but was never compiled under this name"),
        (
            hello(&format!("@{}", digest(3))),
            "is in a source repository, but was never compiled under this name",
        ),
        ("redis".to_owned(), "is not of the source registry, or of an algorithm that was never compiled"),
    ] {
        assert_eq!(table.decide(&asked).sentence(&asked), format!("{asked} {why}"));
    }
}

/// What the table should say, found by going through all facts. Later facts stand later.
fn modelled(facts: &[Fact], tag: &str) -> String {
    let mut live = [false; 4];
    let mut carriers = std::collections::BTreeMap::new();
    let mut routes = std::collections::BTreeMap::new();
    for fact in facts {
        match fact {
            Fact::Registry { id, live: now, .. } => live[id.0.as_u128() as usize] = *now,
            Fact::Tag { image, tag: carried, revision } if carried.as_str() == tag => {
                carriers.insert(image, revision);
            }
            Fact::Route(route) => {
                routes.insert((route.image, route.registry), route);
            }
            _ => {}
        }
    }
    let Some((newest, _)) = carriers.iter().max_by_key(|(_, revision)| **revision) else {
        return "unknown".to_owned();
    };
    let in_force = || routes.values().filter(|route| live[route.registry.0.as_u128() as usize]);
    let behind = !in_force().any(|route| route.image == **newest);
    let latest =
        in_force().filter(|route| carriers.contains_key(&route.image)).max_by_key(|route| route.succeeded);
    match latest {
        None if routes.values().any(|route| carriers.contains_key(&route.image)) => "deleted".to_owned(),
        None => "unpushed".to_owned(),
        Some(route) => {
            format!("{}/ann/hello:{}{}", route.address, route.tag, if behind { " (behind)" } else { "" })
        }
    }
}

#[test]
fn generated_facts_are_answered_as_by_the_model() {
    let mut numbers = Numbers(11);
    for _ in 0..300 {
        let mut facts: Vec<Fact> = (0..5).map(|id| image(id, SOURCE, "ann/hello")).collect();
        for revision in 1..60 {
            let id = numbers.below(5) as u64;
            let registered = 1 + numbers.below(3) as u8;
            facts.push(match numbers.below(6) {
                0 => registry(registered, numbers.below(3) > 0),
                1 | 2 => tag(id, numbers.one_of(&["a", "b", "latest"]), revision),
                _ => {
                    let address = format!("r{registered}-{}.example", numbers.below(2));
                    route(id, registered, &address, &format!("h{id}"), revision)
                }
            });
        }
        let in_order = table(facts.clone());
        let twice = table([&facts[..], &facts[20..]].concat());
        // What a full reload sees: of each thing the last fact, images wherever they last changed.
        let mut shuffled = facts.clone();
        let moved = shuffled.remove(numbers.below(5));
        shuffled.insert(numbers.below(shuffled.len()), moved);
        let shuffled = table(shuffled);
        for tag in ["a", "b", "latest"] {
            let expected = modelled(&facts, tag);
            for (table, how) in [(&in_order, "in order"), (&twice, "twice"), (&shuffled, "image late")] {
                assert_eq!(pulled(table, &hello(&format!(":{tag}"))), expected, "{how}: {facts:#?}");
            }
        }
    }
}
