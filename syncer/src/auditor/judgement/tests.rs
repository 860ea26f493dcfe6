//! Every way in which a pod can run, as claims.

use domain::fact::{Fact, ImageId, Route};
use domain::registry::RegistryId;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::auditor::shown::tests as shown;

const SOURCE: &str = "built.example/algorithms/ann/hello";
const CORP: &str = "corp.example/in/algorithms/ann/hello";
const OTHER: &str = "other.example/algorithms/ann/hello";

fn id(registry: u8) -> RegistryId {
    RegistryId(Uuid::from_u128(registry.into()))
}

fn registry(registry: u8, live: bool) -> Fact {
    Fact::Registry { id: id(registry), name: Some(format!("r{registry}")), live }
}

fn route(registry: u8, address: &str, revision: u64) -> Fact {
    Fact::Route(Route {
        image: ImageId(1),
        registry: id(registry),
        address: address.parse().unwrap(),
        tag: "abc".parse().unwrap(),
        succeeded_at: at(revision),
        succeeded: Revision(revision),
    })
}

/// Routes are proven a second apart; the pod was created at 5.
fn at(second: u64) -> Timestamp {
    let created: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    Timestamp::from_millisecond(created.as_millisecond() + (second as i64 - 5) * 1000 + 400).unwrap()
}

fn table(more: Vec<Fact>) -> Table {
    let compiled = vec![
        registry(1, true),
        registry(2, true),
        Fact::Image {
            id: ImageId(1),
            source: "built.example".parse().unwrap(),
            repository: "algorithms/ann/hello".parse().unwrap(),
            digest: format!("sha256:{:064}", 1).parse().unwrap(),
        },
        Fact::Tag { image: ImageId(1), tag: "abc".parse().unwrap(), revision: Revision(1) },
    ];
    let mut table = Table::new([7; 16], &[]);
    [compiled, more].concat().into_iter().for_each(|fact| table.apply(fact));
    table
}

/// What is found of a pod of one container that runs `image` and says that it asked for `asked`.
fn judged(image: &str, asked: Option<&str>, takes_part: bool, facts: Vec<Fact>) -> Option<AuditedImage> {
    let mut pod = shown::json(image);
    if let Some(asked) = asked {
        let report = json!({"main": asked}).to_string();
        pod["metadata"]["annotations"] = json!({"drayage.dev/routed": report});
    }
    let table = table(facts);
    let since = (1..10).map(|revision| (Revision(revision), at(revision))).collect();
    let mut judge = Judge { table: &table, since: &since, unknown: HashSet::new() };
    judge.judge(&shown::read(&pod), takes_part).pop()
}

fn tagged(repository: &str) -> String {
    format!("{repository}:abc")
}

fn corp() -> Fact {
    route(1, "corp.example/in", 2)
}

#[track_caller]
fn assert_found(found: Option<AuditedImage>, state: PodState, registry: Option<u8>, why: &str) {
    let found = found.expect("a known image");
    assert_eq!((found.state, found.registry), (state, registry.map(id)), "{}", found.why);
    assert!(found.why.contains(why), "{}", found.why);
}

#[test]
fn a_pod_that_runs_from_where_its_route_says_is_routed() {
    let asked = tagged(SOURCE);
    let found = judged(&tagged(CORP), Some(&asked), true, vec![corp()]);
    assert_found(found, PodState::Routed, Some(1), "hello:abc is pulled as corp.example/in/");
    let digest = format!("@sha256:{:064}", 1);
    let found = judged(&format!("{CORP}{digest}"), Some(&format!("{SOURCE}{digest}")), true, vec![corp()]);
    assert_found(found, PodState::Routed, Some(1), "is pulled as corp.example/in/");
}

#[test]
fn a_destination_that_is_named_by_hand_is_routed() {
    let found = judged(&tagged(CORP), None, false, vec![corp()]);
    assert_found(found, PodState::Routed, Some(1), "already names registry r1");
}

#[test]
fn a_source_image_with_a_route_is_a_stray_and_the_reason_is_told() {
    let image = tagged(SOURCE);
    let stray = |takes_part, facts| judged(&image, None, takes_part, facts);
    assert_found(
        stray(false, vec![corp()]),
        PodState::Stray,
        None,
        "pulled as corp.example/in/algorithms/ann/hello:abc, as last pushed to registry r1 (00000000-0000-0000-0000-000000000001) at revision 2; the pod runs it from the source registry: its namespace does not carry the label drayage.dev/runners=enabled",
    );
    assert_found(stray(true, vec![corp()]), PodState::Stray, None, "no webhook rewrote it");
    // In the second of the route nobody can say.
    let same = vec![route(1, "corp.example/in", 5)];
    assert_found(stray(true, same), PodState::Stray, None, "no webhook rewrote it");
    let later = vec![route(1, "corp.example/in", 6)];
    assert_found(stray(true, later), PodState::Stray, None, "admitted before there was a route");
}

#[test]
fn a_route_of_which_it_is_not_known_since_when_is_asked_for() {
    let (table, since) = (table(vec![corp()]), HashMap::new());
    let mut judge = Judge { table: &table, since: &since, unknown: HashSet::new() };
    judge.judge(&shown::read(&shown::json(&tagged(SOURCE))), true);
    assert_eq!(judge.unknown, HashSet::from([Revision(2)]));
}

#[test]
fn a_source_image_without_a_route_is_unrouted() {
    let found = judged(&tagged(SOURCE), None, true, vec![]);
    assert_found(found, PodState::Unrouted, None, "; it runs from the source registry");
    let found = judged(&format!("{SOURCE}:never"), None, true, vec![corp()]);
    assert_found(found, PodState::Unrouted, None, "never compiled");
}

#[test]
fn a_pod_of_an_older_route_is_a_stray_wherever_that_leads() {
    let asked = tagged(SOURCE);
    let older = |facts: Vec<Fact>| judged(&tagged(CORP), Some(&asked), true, facts);
    // The image is in both registries; in another one since; its registry has moved; or was deleted.
    let elsewhere = vec![corp(), route(2, "other.example", 3)];
    assert_found(
        older(elsewhere.clone()),
        PodState::Stray,
        Some(1),
        "corp.example/in/algorithms/ann/hello:abc, by an older route",
    );
    assert_found(older(vec![route(1, "new.example", 3)]), PodState::Stray, None, "by an older route");
    let deleted = [elsewhere, vec![registry(1, false)]].concat();
    assert_found(older(deleted), PodState::Stray, None, "by an older route");
    let found = judged(&tagged(OTHER), Some(&asked), true, vec![corp(), route(2, "other.example", 3)]);
    assert_found(found, PodState::Routed, Some(2), "is pulled as other.example/");
}

#[test]
fn a_pod_whose_route_has_ended_is_unrouted() {
    let found = judged(&tagged(CORP), Some(&tagged(SOURCE)), true, vec![corp(), registry(1, false)]);
    assert_found(found, PodState::Unrouted, None, "by a route that has ended");
}

/// The same algorithm's next image, `def`, which took the tag `latest` from `abc`.
fn next() -> Vec<Fact> {
    let id = ImageId(2);
    let source = Fact::Image {
        id,
        source: "built.example".parse().unwrap(),
        repository: "algorithms/ann/hello".parse().unwrap(),
        digest: format!("sha256:{:064}", 2).parse().unwrap(),
    };
    let tag = |image, tag: &str, at| Fact::Tag { image, tag: tag.parse().unwrap(), revision: Revision(at) };
    let Fact::Route(first) = corp() else { unreachable!() };
    let pushed = Fact::Route(Route {
        image: id,
        tag: "def".parse().unwrap(),
        succeeded: Revision(4),
        succeeded_at: at(4),
        ..first
    });
    vec![corp(), source, tag(ImageId(1), "latest", 1), tag(id, "latest", 3), tag(id, "def", 3), pushed]
}

#[test]
fn a_report_of_an_image_that_was_changed_since_is_of_what_runs_now() {
    let (asked, now) = (tagged(SOURCE), format!("{CORP}:def"));
    let found = judged(&now, Some(&asked), true, next());
    assert_eq!(found.as_ref().and_then(|found| found.asked.clone()), Some(format!("{SOURCE}:def")));
    assert_found(found, PodState::Routed, Some(1), "hello:def is pulled as corp.example/in/");
    let digest = format!("@sha256:{:064}", 2);
    let found = judged(&format!("{CORP}{digest}"), Some(&asked), true, next());
    assert_found(found, PodState::Routed, Some(1), "is pulled as corp.example/in/");
    // Its route moves as that of any other.
    let Some(Fact::Route(last)) = next().pop() else { unreachable!() };
    let moved =
        Route { registry: id(2), address: "other.example".parse().unwrap(), succeeded: Revision(5), ..last };
    let found = judged(&now, Some(&asked), true, [next(), vec![Fact::Route(moved)]].concat());
    assert_found(found, PodState::Stray, Some(1), "by an older route");
    // What somebody else's registry calls by the same name is not ours.
    assert_eq!(judged("own.example/algorithms/ann/hello:own", Some(&asked), true, next()), None);
}

#[test]
fn a_moving_tag_is_reported_as_long_as_it_has_led_to_what_runs() {
    let latest = format!("{SOURCE}:latest");
    let found = judged(&format!("{CORP}:def"), Some(&latest), true, next());
    assert_found(found, PodState::Routed, Some(1), "hello:latest is pulled as");
    let found = judged(&tagged(CORP), Some(&latest), true, next());
    assert_found(found, PodState::Stray, Some(1), "hello:latest is pulled as");
    let found = judged(&tagged(CORP), Some(&format!("{SOURCE}:def")), true, next());
    assert_found(found, PodState::Routed, Some(1), "hello:abc is pulled as");
}

#[test]
fn what_is_none_of_our_business_is_not_found() {
    assert_eq!(judged("redis", None, true, vec![corp()]), None);
    assert_eq!(judged("redis", Some("redis"), true, vec![corp()]), None);
    // A report of an image that the container does not run any more, or that somebody made up.
    assert_eq!(judged("redis:7", Some(&tagged(SOURCE)), true, vec![corp()]), None);
    let found = judged(&tagged(CORP), Some("built.example/algorithms/ann/other:abc"), true, vec![corp()]);
    assert_eq!(found.as_ref().and_then(|found| found.asked.as_deref()), None);
    assert_found(found, PodState::Routed, Some(1), "already names");
}

#[test]
fn a_pod_that_has_ended_is_no_stray() {
    let mut pod = shown::json(&tagged(SOURCE));
    pod["status"]["phase"] = "Succeeded".into();
    let (table, since) = (table(vec![corp()]), HashMap::new());
    let mut judge = Judge { table: &table, since: &since, unknown: HashSet::new() };
    assert!(judge.judge(&shown::read(&pod), false).is_empty());
}
