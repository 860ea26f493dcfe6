//! Reviews as claims, with kube's types as the oracle of both directions of the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Timestamp;
use domain::fact::{Fact, ImageId, Revision, Route};
use domain::registry::RegistryId;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionResponse, AdmissionReview};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const ASKED: &str = "registry.local:5000/built/ann/hello:abc";
const PUSHED: &str = "corp.example/mirror/ann/hello:abc";

fn table() -> Table {
    let registry = RegistryId(Uuid::from_u128(1));
    let tag = || "abc".parse().unwrap();
    let mut table = Table::new([9; 16], &[]);
    for fact in [
        Fact::Registry { id: registry, name: Some("corp".to_owned()), live: true },
        Fact::Image {
            id: ImageId(1),
            source: "registry.local:5000/built".parse().unwrap(),
            repository: "ann/hello".parse().unwrap(),
            digest: format!("sha256:{:064x}", 1).parse().unwrap(),
        },
        Fact::Tag { image: ImageId(1), tag: tag(), revision: Revision(1) },
        Fact::Route(Route {
            image: ImageId(1),
            registry,
            address: "corp.example/mirror".parse().unwrap(),
            tag: tag(),
            succeeded_at: Timestamp::UNIX_EPOCH,
            succeeded: Revision(2),
        }),
    ] {
        table.apply(fact);
    }
    table
}

fn pod(image: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "hello", "namespace": "runners"},
        "spec": {"containers": [{"name": "c", "image": image, "imagePullPolicy": policy}]},
    })
}

/// What the API server sends about a pod.
fn review(operation: &str, sub_resource: &str, object: Value, old_object: Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": sub_resource,
            "name": "hello",
            "namespace": "runners",
            "operation": operation,
            "userInfo": {"username": "ann", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": old_object,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

fn answered(review: &Value, unrouted: Unrouted) -> (Value, Outcome) {
    let body = review.to_string();
    let request = read(body.as_bytes()).expect("a review");
    let (answer, outcome) = admit(&request, &table(), unrouted);
    (serde_json::to_value(&answer).unwrap(), outcome)
}

/// The response through kube's eyes. Its patch is an array of numbers there, base64 on the wire.
fn by_kube(answer: &Value) -> (AdmissionResponse, json_patch::Patch) {
    let mut answer = answer.clone();
    let patch = match answer["response"].as_object_mut().unwrap().remove("patch") {
        Some(base64) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
        None => b"[]".to_vec(),
    };
    if answer["response"].get("status").is_none() {
        answer["response"]["status"] = json!({});
    }
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(answer).expect("kube reads it");
    (review.response.expect("a response"), serde_json::from_slice(&patch).expect("a JSON Patch"))
}

#[test]
fn kube_reads_the_same_request() {
    let review = review("UPDATE", "ephemeralcontainers", pod(ASKED, "Always"), pod("redis", "Always"));
    let text = review.to_string();
    let ours = read(text.as_bytes()).unwrap();
    let theirs: AdmissionReview<DynamicObject> = serde_json::from_str(&text).unwrap();
    let theirs = theirs.request.unwrap();
    assert_eq!(*ours.uid, theirs.uid);
    assert_eq!((ours.namespace(), ours.pod()), (theirs.namespace.unwrap().as_str(), theirs.name.as_str()));
    assert_eq!(ours.sub_resource(), theirs.sub_resource.unwrap());
    assert_eq!(json!(theirs.operation), json!(*ours.operation));
    assert_eq!((ours.object.is_some(), ours.old_object.is_some()), (true, true));
}

#[test]
fn a_created_pod_is_routed_and_the_audit_names_the_push() {
    let before = pod(ASKED, "IfNotPresent");
    let (answer, outcome) = answered(&review("CREATE", "", before.clone(), Value::Null), Unrouted::Allow);
    assert_eq!(outcome, Outcome::Routed);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let (response, patch) = by_kube(&answer);
    assert_eq!(response.uid, "0df28fbd-5f5f-11e8-bc74-36e6bb280816");
    assert!(response.allowed && response.warnings.is_none());
    assert_eq!(response.audit_annotations["push"], "00000000-0000-0000-0000-000000000001 ann/hello:abc 2");
    assert!(response.audit_annotations["route"].contains(PUSHED));
    assert!(response.audit_annotations.keys().all(|key| !key.contains('/')));
    let mut after = before;
    json_patch::patch(&mut after, &patch).unwrap();
    assert_eq!(after["spec"]["containers"][0], pod(PUSHED, "Always")["spec"]["containers"][0]);

    let (again, outcome) = answered(&review("CREATE", "", after, Value::Null), Unrouted::Allow);
    assert_eq!((outcome, by_kube(&again).1.len()), (Outcome::Unchanged, 0));
}

#[test]
fn a_dry_run_is_answered_like_any_other() {
    let wet = review("CREATE", "", pod(ASKED, "Never"), Value::Null);
    let mut dry = wet.clone();
    dry["request"]["dryRun"] = true.into();
    assert_eq!(answered(&dry, Unrouted::Allow), answered(&wet, Unrouted::Allow));
}

#[test]
fn a_refusal_has_a_message_and_no_patch() {
    let refused = [
        (
            review("CREATE", "", pod("registry.local:5000/built/ann/hello:no", "Never"), Value::Null),
            Unrouted::Refuse,
        ),
        (review("UPDATE", "", pod(ASKED, "Never"), pod("redis", "Never")), Unrouted::Allow),
    ];
    for (review, unrouted) in refused {
        let (answer, outcome) = answered(&review, unrouted);
        let (response, patch) = by_kube(&answer);
        assert_eq!((outcome, response.allowed, patch.len()), (Outcome::Refused, false, 0));
        assert_eq!(response.result.code, 403);
        assert!(response.result.message.contains("ann/hello"), "{}", response.result.message);
        assert_eq!(answer["response"]["auditAnnotations"], json!({"route": response.result.message}));
    }
}

#[test]
fn a_warning_is_one_line() {
    let unpushed = pod("registry.local:5000/built/ann/hello:no", "Never");
    let (answer, outcome) = answered(&review("CREATE", "", unpushed, Value::Null), Unrouted::Allow);
    assert_eq!(outcome, Outcome::Unrouted);
    let warnings = by_kube(&answer).0.warnings.unwrap();
    assert!(warnings.len() == 1 && !warnings[0].contains('\n'), "{warnings:?}");
}

#[test]
fn whatever_is_no_pod_is_let_through_unread() {
    let mut deployment = review("CREATE", "", json!({"spec": {"containers": 7}}), Value::Null);
    deployment["request"]["resource"] = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    let mut namesake = review("CREATE", "", pod(ASKED, "Never"), Value::Null);
    namesake["request"]["resource"]["group"] = "metrics.k8s.io".into();
    for review in [
        deployment,
        namesake,
        review("CREATE", "binding", json!({"target": {"name": "node"}}), Value::Null),
        review("DELETE", "", Value::Null, pod(ASKED, "Never")),
        review("CONNECT", "exec", json!([]), Value::Null),
    ] {
        let (answer, outcome) = answered(&review, Unrouted::Refuse);
        let (response, patch) = by_kube(&answer);
        assert_eq!((outcome, response.allowed, patch.len()), (Outcome::Unchanged, true, 0));
    }
}

#[test]
fn a_review_that_cannot_be_answered_says_why() {
    let good = review("CREATE", "", pod(ASKED, "Never"), Value::Null);
    let without = |pointer: &str, key: &str| {
        let mut review = good.clone();
        review.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
        review.to_string()
    };
    let with = |pointer: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        review.to_string()
    };
    for (body, why) in [
        (String::new(), "Json"),
        ("{".to_owned(), "Json"),
        ("[]".to_owned(), "Json"),
        ("null".to_owned(), "Json"),
        (good.to_string() + "x", "Json"),
        (without("", "kind"), "Json"),
        (without("/request", "uid"), "Json"),
        (without("/request", "object"), "NoPod"),
        (without("", "request"), "NoRequest"),
        (with("/kind", json!("Pod")), "Kind"),
        (with("/apiVersion", json!("admission.k8s.io/v1beta1")), "Kind"),
        (with("/request/object/spec/containers", json!("x")), "Json"),
        (with("/request/object/spec/containers/0/image", json!(7)), "Json"),
        (with("/request/object", json!([])), "Json"),
        (with("/request/object", json!([{}, {}])), "Json"),
        (with("/request/object/spec", json!([[], [], [], []])), "Json"),
        (with("/request/object/spec/containers/0", json!(["c", ASKED, "Never"])), "Json"),
        (with("/request/resource", json!(["", "pods"])), "Json"),
        (with("/request/operation", json!("UPDATE")), "NoPod"),
    ] {
        let error = read(body.as_bytes()).unwrap_err();
        assert!(format!("{error:?}").starts_with(why), "{body}: {error:?}");
    }
    assert!(matches!(read(b"{\"kind\": \"\xff\"}"), Err(Malformed::Encoding(_))));
    assert!(read(("[".repeat(1 << 20)).as_bytes()).is_err());
    let listed = json!([good["apiVersion"], good["kind"], good["request"]]).to_string();
    let reason = read(listed.as_bytes()).unwrap_err().source_text();
    assert!(reason.starts_with("invalid type: sequence, expected an object"), "{reason}");
    let many = with("/request/object/spec/containers", json!(vec![json!({}); 8193]));
    assert!(read(many.as_bytes()).unwrap_err().source_text().contains("at most 8192"));
}

/// A thousand reviews with something changed at random: every one is answered or refused as malformed,
/// and a patch always fits the object it is for.
#[test]
fn generated_reviews_never_break_admission() {
    let table = table();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let deep = (0..20).fold(json!(1), |inner, _| json!({ "x": [inner] }));
    let junk = [
        Value::Null,
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\u{0}\u{1F6A2}\n\"\\/~"),
        json!({}),
        deep,
        json!(vec![ASKED; 500]),
        json!([{"name": "c", "image": ASKED}]),
        json!({"name": ASKED, "drayage.dev/routed": "{\"c\":\"x\"}"}),
    ];
    let mut answered = 0;
    for _ in 0..3_000 {
        let operation = ["CREATE", "UPDATE", "DELETE", "x"][below(4)];
        let sub_resource = ["", "ephemeralcontainers", "status"][below(3)];
        let mut old = pod("redis", "Always");
        let mut new = pod([ASKED, PUSHED, "redis"][below(3)], ["Always", "Never"][below(2)]);
        new["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": ASKED}]);
        new["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": ASKED}}]);
        new["metadata"]["annotations"] = junk[below(junk.len())].clone();
        new["spec"]["imagePullSecrets"] = match below(4) {
            0 => junk[below(junk.len())].clone(),
            1 => json!([{"name": "own"}]),
            _ => Value::Null,
        };
        for object in [&mut new, &mut old] {
            let pointers =
                ["/metadata/name", "/spec/containers", "/spec/containers/0/image", "/spec", "/kind"];
            if below(3) == 0 {
                *object.pointer_mut(pointers[below(5)]).unwrap() = junk[below(junk.len())].clone();
            }
        }
        let mut bytes = review(operation, sub_resource, new.clone(), old).to_string().into_bytes();
        if below(4) == 0 {
            let at = below(bytes.len());
            bytes[at] = below(256) as u8;
        } else if below(8) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        let Ok(request) = read(&bytes) else { continue };
        let (answer, _) = admit(&request, &table, Unrouted::Allow);
        let answer = serde_json::to_value(&answer).unwrap();
        let sent: Value = serde_json::from_slice(&bytes).expect("what is answered is JSON");
        let mut object = sent["request"]["object"].clone();
        json_patch::patch(&mut object, &by_kube(&answer).1).expect("the patch fits");
        answered += 1;
    }
    assert!(answered > 500, "{answered}");
}

impl Malformed {
    fn source_text(&self) -> String {
        std::error::Error::source(self).map(ToString::to_string).unwrap_or_default()
    }
}
