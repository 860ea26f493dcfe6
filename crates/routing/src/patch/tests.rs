//! Admissions as claims: what the patch, applied by json-patch, makes of a pod.

use serde_json::{Value, json};

use super::*;
use crate::ledger::*;

const ASKED: &str = "registry.local:5000/built/ann/hello:abc";
const PUSHED: &str = "corp.example/mirror/ann/hello:abc";
const POINTER: &str = "/metadata/annotations/drayage.dev~1routed";

fn admitted(before: &Value, mutation: &Mutation) -> Value {
    let mut after = before.clone();
    json_patch::patch(&mut after, &mutation.patch).expect("the patch fits its own request");
    after
}

fn parsed(text: &str) -> Pod<'_> {
    serde_json::from_str(text).expect("a pod")
}

fn created(pod: &Value, table: &Table) -> Mutation {
    let text = pod.to_string();
    mutate(&Change::Create(&parsed(&text)), table, Unrouted::Allow)
}

fn updated(pod: &Value, old: &Value) -> Mutation {
    let (pod, old) = (pod.to_string(), old.to_string());
    let change = Change::Update { pod: &parsed(&pod), old: &parsed(&old) };
    mutate(&change, &table(one_route()), Unrouted::Allow)
}

fn debugged(pod: &Value, old: &Value) -> Mutation {
    let (pod, old) = (pod.to_string(), old.to_string());
    let change = Change::Debug { pod: &parsed(&pod), old: &parsed(&old) };
    mutate(&change, &table(one_route()), Unrouted::Allow)
}

fn pod(containers: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

/// With our pull Secret, as any pod that we have admitted.
fn stored(containers: Value) -> Value {
    let mut pod = pod(containers);
    pod["spec"]["imagePullSecrets"] = json!([{"name": "drayage-registries"}]);
    pod
}

fn paths(mutation: &Mutation) -> Vec<String> {
    mutation.patch.iter().map(|operation| operation.path().to_string()).collect()
}

#[test]
fn every_kind_of_image_is_routed_and_nothing_else_is_touched() {
    let before = json!({
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"other": "kept"}, "future": [1, {"x": null}]},
        "spec": {
            "initContainers": [{"name": "i", "image": ASKED, "imagePullPolicy": "Never"}],
            "containers": [
                {"name": "foreign", "image": "redis:7", "imagePullPolicy": "IfNotPresent"},
                {"name": "c", "image": ASKED, "command": ["\u{e9}\n\"\\"]},
                {"name": "d", "image": "CORP.example/mirror/ann/hello:abc", "imagePullPolicy": "IfNotPresent"},
            ],
            "volumes": [
                {"name": "empty", "emptyDir": {}},
                {"name": "v", "image": {"reference": ASKED, "pullPolicy": "IfNotPresent", "x": 1}},
            ],
            "imagePullSecrets": [{"name": "own"}],
        },
    });
    let mut expected = before.clone();
    for entry in ["/spec/initContainers/0", "/spec/containers/1"] {
        expected.pointer_mut(entry).unwrap()["image"] = PUSHED.into();
        expected.pointer_mut(entry).unwrap()["imagePullPolicy"] = "Always".into();
    }
    expected["spec"]["containers"][2]["imagePullPolicy"] = "Always".into();
    expected["spec"]["volumes"][1]["image"] = json!({"reference": PUSHED, "pullPolicy": "Always", "x": 1});
    expected["spec"]["imagePullSecrets"] = json!([{"name": "own"}, {"name": "drayage-registries"}]);
    expected["metadata"]["annotations"]["drayage.dev/routed"] =
        json!({"c": ASKED, "i": ASKED, "volume/v": ASKED}).to_string().into();

    let table = table(one_route());
    let mutation = created(&before, &table);
    let after = admitted(&before, &mutation);
    assert_eq!(after, expected);
    assert_eq!(mutation.outcome, Outcome::Routed);
    assert_eq!(mutation.warnings, Vec::<String>::new());
    assert_eq!(mutation.pushes, ["00000000-0000-0000-0000-000000000001 ann/hello:abc 2"]);
    assert_eq!(mutation.patch.len(), 3 * 2 + 1 + 1 + 1);
    assert_eq!(created(&after, &table), Mutation { routes: vec![], ..Mutation::default() });
}

#[test]
fn the_annotations_object_is_made_only_when_it_is_missing() {
    let container = json!([{"name": "c", "image": ASKED, "imagePullPolicy": "Always"}]);
    for annotations in [None, Some(Value::Null), Some(json!({}))] {
        let mut before = stored(container.clone());
        if let Some(annotations) = &annotations {
            before["metadata"]["annotations"] = annotations.clone();
        }
        let mutation = created(&before, &table(one_route()));
        let expected = if annotations.is_some_and(|found| found.is_object()) {
            POINTER
        } else {
            "/metadata/annotations"
        };
        assert_eq!(paths(&mutation), ["/spec/containers/0/image", expected]);
        let after = admitted(&before, &mutation);
        assert_eq!(after.pointer(POINTER), Some(&format!("{{\"c\":\"{ASKED}\"}}").into()));
    }
}

#[test]
fn the_annotation_keeps_only_entries_of_containers_that_name_a_known_destination() {
    let mut before = pod(json!([
        {"name": "stored", "image": PUSHED, "imagePullPolicy": "Always"},
        {"name": "asks", "image": ASKED, "imagePullPolicy": "Always"},
        {"name": "foreign", "image": "redis"},
    ]));
    let entries = json!({"stored": "s", "asks": "a", "foreign": "f", "gone": "g"});
    before["metadata"]["annotations"] = json!({"drayage.dev/routed": entries.to_string()});
    let after = admitted(&before, &created(&before, &table(one_route())));
    let expected = json!({"asks": ASKED, "stored": "s"}).to_string();
    assert_eq!(after.pointer(POINTER), Some(&expected.into()));
}

#[test]
fn an_annotation_that_is_no_report_breaks_nothing() {
    for text in ["", "{", "[]", "7", r#"{"c": 1}"#, r#"{"c": "x"}"#, "null", "\u{0}"] {
        let mut foreign = pod(json!([{"name": "c", "image": "redis"}]));
        foreign["metadata"]["annotations"] = json!({"drayage.dev/routed": text});
        let mutation = created(&foreign, &table(one_route()));
        assert_eq!(admitted(&foreign, &mutation)["metadata"]["annotations"], json!({}), "{text}");

        let mut asks = pod(json!([{"name": "c", "image": ASKED}]));
        asks["metadata"]["annotations"] = json!({"drayage.dev/routed": text});
        let after = admitted(&asks, &created(&asks, &table(one_route())));
        assert_eq!(after.pointer(POINTER), Some(&json!({"c": ASKED}).to_string().into()), "{text}");
    }
}

#[test]
fn a_foreign_pod_is_not_touched() {
    let before = pod(json!([{"name": "c", "image": "redis"}, {"name": "d"}, {"name": "e", "image": ""}]));
    assert_eq!(created(&before, &table(one_route())), Mutation::default());
}

#[test]
fn a_mirror_pod_is_left_alone() {
    let mut before = pod(json!([{"name": "c", "image": ASKED}]));
    before["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(created(&before, &table(one_route())), Mutation::default());
}

#[test]
fn a_source_image_without_a_route_runs_with_a_warning_or_is_refused() {
    let text = pod(json!([
        {"name": "c", "image": ASKED},
        {"name": "d", "image": "registry.local:5000/built/ann/hello:never"},
    ]))
    .to_string();
    let table = table(one_route());
    let change = Change::Create(&parsed(&text));
    let allowed = mutate(&change, &table, Unrouted::Allow);
    assert_eq!(allowed.outcome, Outcome::Unrouted);
    assert_eq!(allowed.warnings.len(), 1);
    assert!(!allowed.warnings[0].contains('\n') && allowed.warnings[0].contains("ann/hello:never"));
    assert!(paths(&allowed).iter().all(|path| !path.starts_with("/spec/containers/1")));

    let refused = mutate(&change, &table, Unrouted::Refuse);
    assert_eq!((refused.outcome, refused.patch.len()), (Outcome::Refused, 0));
    assert!(refused.refusal.as_ref().is_some_and(|reason| reason.contains("ann/hello:never")));
    assert_eq!((refused.routes, refused.pushes), (Vec::from_iter(refused.refusal), vec![]));
}

#[test]
fn an_older_image_of_a_tag_is_pulled_with_a_warning() {
    let mut facts = one_route();
    facts.extend([image(2, SOURCE, "ann/hello"), tag(2, "abc", 5)]);
    let mutation = created(&pod(json!([{"name": "c", "image": ASKED}])), &table(facts));
    assert_eq!(mutation.outcome, Outcome::Routed);
    assert_eq!(mutation.warnings.len(), 1);
}

#[test]
fn an_update_judges_only_the_images_that_changed_and_patches_only_them() {
    let old = stored(json!([
        {"name": "stays", "image": ASKED, "imagePullPolicy": "IfNotPresent"},
        {"name": "changes", "image": "redis", "imagePullPolicy": "Always"},
    ]));
    let mut new = old.clone();
    new["spec"]["containers"][1]["image"] = ASKED.into();
    let mutation = updated(&new, &old);
    assert_eq!(paths(&mutation), ["/spec/containers/1/image"]);
    let after = admitted(&new, &mutation);
    assert_eq!(after["spec"]["containers"][1]["image"], PUSHED);
    assert_eq!(updated(&after, &old).patch.len(), 0);
    assert_eq!(updated(&old, &old), Mutation::default());
}

#[test]
fn a_routed_image_in_a_live_container_without_always_is_refused() {
    for image in [ASKED, PUSHED] {
        let old = stored(json!([{"name": "c", "image": "redis", "imagePullPolicy": "IfNotPresent"}]));
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = image.into();
        let mutation = updated(&new, &old);
        assert_eq!((mutation.outcome, mutation.patch.len()), (Outcome::Refused, 0));
        assert!(mutation.refusal.is_some_and(|reason| reason.contains("create it again")));
    }
}

#[test]
fn of_ephemeral_containers_only_new_ones_are_patched_and_none_is_reported() {
    let mut old = stored(json!([{"name": "c", "image": ASKED, "imagePullPolicy": "Never"}]));
    old["spec"]["ephemeralContainers"] = json!([{"name": "first", "image": ASKED}]);
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([
        {"name": "first", "image": ASKED},
        {"name": "second", "image": ASKED, "imagePullPolicy": "IfNotPresent"},
    ]);
    let mutation = debugged(&new, &old);
    assert_eq!(
        paths(&mutation),
        ["/spec/ephemeralContainers/1/imagePullPolicy", "/spec/ephemeralContainers/1/image"]
    );
    let after = admitted(&new, &mutation);
    assert_eq!(after["spec"]["ephemeralContainers"][1]["image"], PUSHED);
    assert_eq!(debugged(&after, &old).patch.len(), 0);
}

#[test]
fn the_pull_secret_is_appended_once_to_whatever_the_pod_is_pulled_with() {
    let ours = json!({"name": "drayage-registries"});
    for image in [ASKED, PUSHED] {
        for (before, after) in [
            (None, json!([ours])),
            (Some(Value::Null), json!([ours])),
            (Some(json!([])), json!([ours])),
            (Some(json!([{"name": "own"}, {}])), json!([{"name": "own"}, {}, ours])),
            (Some(json!([ours, {"name": "own"}])), json!([ours, {"name": "own"}])),
        ] {
            let mut asks = pod(json!([{"name": "c", "image": image}]));
            if let Some(before) = before {
                asks["spec"]["imagePullSecrets"] = before;
            }
            let admitted_once = admitted(&asks, &created(&asks, &table(one_route())));
            assert_eq!(admitted_once["spec"]["imagePullSecrets"], after, "{asks}");
            assert_eq!(created(&admitted_once, &table(one_route())).patch.len(), 0);
        }
    }
    for image in ["redis", "registry.local:5000/built/ann/hello:never"] {
        let foreign = pod(json!([{"name": "c", "image": image}]));
        assert_eq!(created(&foreign, &table(one_route())).patch.len(), 0, "{image}");
    }
}

#[test]
fn a_live_pod_without_the_pull_secret_takes_no_routed_image_and_a_debugger_only_with_a_warning() {
    let old = pod(json!([{"name": "c", "image": "redis", "imagePullPolicy": "Always"}]));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = ASKED.into();
    let refusal = updated(&new, &old).refusal.expect("refused");
    assert!(refusal.contains("drayage-registries") && refusal.contains("create it again"), "{refusal}");
    new["spec"]["containers"][0]["image"] = "redis:8".into();
    assert_eq!(updated(&new, &old), Mutation::default());

    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "debugger", "image": ASKED}]);
    let mutation = debugged(&new, &old);
    assert_eq!((mutation.outcome, mutation.warnings.len()), (Outcome::Routed, 1));
    assert!(mutation.warnings[0].contains("drayage-registries"));
}

/// Generated pods against a model that works on the whole JSON, and each admitted twice.
#[test]
fn generated_pods_come_out_as_by_the_model_and_a_second_admission_changes_nothing() {
    let table = table(one_route());
    let mut numbers = Numbers(5);
    let by_digest = |repository: &str| format!("{repository}@{}", digest(1));
    let asked_by_digest = by_digest("registry.local:5000/built/ann/hello");
    let pushed_by_digest = by_digest("corp.example/mirror/ann/hello");
    let asked = [ASKED, "REGISTRY.LOCAL:5000/built/ann/hello:abc", &asked_by_digest];
    let images = [
        asked[0],
        asked[1],
        asked[2],
        PUSHED,
        "redis",
        "registry.local:5000/built/ann/hello:never",
        "",
        " ",
        "10.0.0.12:5000/x",
        "a/b@sha256:0",
    ];
    let routed = |image: &str| match image {
        image if image == asked[2] => Some(pushed_by_digest.clone()),
        image if asked.contains(&image) => Some(PUSHED.to_owned()),
        _ => None,
    };
    for _ in 0..2_000 {
        let mut before = json!({"metadata": {"name": "p"}, "spec": {}});
        if numbers.below(2) == 0 {
            before["metadata"]["annotations"] = numbers
                .one_of(&[r#"{"drayage.dev/routed":"{\"c0\":\"x\",\"v/1\":\"y\"}"}"#, "{}", "null"])
                .parse()
                .unwrap();
        }
        for (list, prefix) in [("containers", "c"), ("initContainers", "i"), ("volumes", "v")] {
            let entries: Vec<Value> = (0..numbers.below(4))
                .map(|at| {
                    let image = numbers.one_of(&images);
                    let policy = numbers.one_of(&["Always", "Never", "IfNotPresent"]);
                    let name = format!("{prefix}{at}");
                    match list {
                        "volumes" if numbers.below(2) == 0 => json!({"name": name, "emptyDir": {}}),
                        "volumes" => {
                            json!({"name": name, "image": {"reference": image, "pullPolicy": policy}})
                        }
                        _ if numbers.below(4) == 0 => json!({"name": name, "image": image, "x": "\u{1F6A2}"}),
                        _ => json!({"name": name, "image": image, "imagePullPolicy": policy}),
                    }
                })
                .collect();
            before["spec"][list] = entries.into();
        }
        let secrets = ["null", "[]", r#"[{"name":"own"}]"#, r#"[{"name":"drayage-registries"}]"#];
        if numbers.below(5) != 0 {
            before["spec"]["imagePullSecrets"] = numbers.one_of(&secrets).parse().unwrap();
        }
        let mutation = created(&before, &table);
        let mut after = admitted(&before, &mutation);
        assert_eq!(created(&after, &table).patch.len(), 0, "{before:#}");

        let mut expected = before.clone();
        let mut is_ours = false;
        for list in ["containers", "initContainers", "volumes"] {
            for entry in expected["spec"][list].as_array_mut().unwrap() {
                let (entry, image, policy) = match entry.get("image") {
                    Some(Value::Object(_)) => (&mut entry["image"], "reference", "pullPolicy"),
                    _ if list == "volumes" => continue,
                    _ => (entry, "image", "imagePullPolicy"),
                };
                if let Some(to) = routed(entry[image].as_str().unwrap()) {
                    entry[image] = to.into();
                }
                if entry[image] == PUSHED || entry[image] == pushed_by_digest.as_str() {
                    entry[policy] = "Always".into();
                    is_ours = true;
                }
            }
        }
        if is_ours {
            let ours = json!({"name": "drayage-registries"});
            match &mut expected["spec"]["imagePullSecrets"] {
                Value::Array(list) if list.contains(&ours) => {}
                Value::Array(list) => list.push(ours),
                absent => *absent = json!([ours]),
            }
        }
        for pod in [&mut after, &mut expected] {
            pod["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        assert_eq!(after, expected);
    }
}
