//! Claims about explanations: what is said, to whom, and that it is what an admission decides.

use domain::fact::FactPage;
use domain::push::{Failure, Reason, RetryPolicy};
use routing::{Decision, Table};
use serde_json::{Value, json};

use super::{Answer, House};

const SOURCE: &str = "127.0.0.1:1/algorithms/ann/echo";

impl House {
    async fn explain(&self, image: &str, key: &str) -> Answer {
        let image = image.replace('@', "%40").replace(' ', "%20");
        self.get(&format!("/v1/explain?image={image}"), key).await
    }

    async fn ask(&self, name: &str, hash: &str, registry: &str) {
        let path = format!("POST /v1/algorithms/ann/{name}/versions/{hash}/registry");
        let answer = self.call(&path, &self.admin, json!({"registry_id": registry})).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

fn said(explanation: &Value) -> (&str, &str) {
    let text = |name: &str| explanation[name].as_str().expect(name);
    (text("decision"), text("sentence"))
}

#[tokio::test]
async fn an_image_is_explained_at_every_step_of_its_pushes() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    let asked = format!("{SOURCE}:latest");
    let explain = async || house.explain(&asked, &ann).await.ok();
    let never = format!("{asked} was compiled, but no push of it has succeeded yet");

    let built = explain().await;
    assert_eq!(said(&built), ("never-pushed", &*never));
    assert_eq!(
        (&built["pushes"], &built["pulled_as"], &built["push"]),
        (&json!([]), &Value::Null, &Value::Null)
    );

    let corp = json!({"registry_url": "corp.example/team", "name": "corp", "registry_username": "reader",
                      "registry_password": "hunter2"});
    let corp = house.registry(corp).await;
    house.ask("echo", &hash, &corp).await;
    let due = explain().await;
    assert_eq!(said(&due).1, never);
    let push = &due["pushes"][0];
    assert_eq!(push["sentence"], format!("the push to registry corp ({corp}) is due"));
    assert_eq!((&push["status"], &push["registry_name"]), (&json!("pending"), &json!("corp")));

    let claim = house.claims().await.pop().expect("a due push");
    let running = explain().await;
    assert_eq!(running["pushes"][0]["sentence"], format!("the push to registry corp ({corp}) is under way"));
    let policy = RetryPolicy { max_tries: 1, give_up_after: std::time::Duration::from_secs(900) };
    let failure = Failure::new(Reason::CredentialsRefused, "the password is wrong");
    house.store.fail_push(&claim, failure, policy, 0.5).await.expect("a store");
    let failed = explain().await;
    assert_eq!(said(&failed).1, never);
    let sentence = failed["pushes"][0]["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("failed (credentials_refused): the password is wrong"), "{sentence}");

    house.ask("echo", &hash, &corp).await;
    house.pushed().await;
    let routed = explain().await;
    let to = format!("corp.example/team/algorithms/ann/echo:{hash}");
    let (decision, sentence) = said(&routed);
    assert_eq!((decision, &routed["pulled_as"]), ("routed", &json!(to)));
    assert!(
        sentence.starts_with(&format!("{asked} is pulled as {to}, as last pushed to registry corp ({corp})"))
    );
    assert_eq!(routed["pull_secret"], json!({"name": "drayage-registries", "has_login": true}));
    assert_eq!((&routed["push"]["registry_id"], &routed["push"]["image"]), (&json!(corp), &json!(to)));
    assert!(routed["push"]["succeeded_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{routed}");
    assert!(sentence.ends_with(&format!("at revision {}", routed["push"]["revision"])), "{sentence}");
    assert!(!routed.to_string().contains("hunter2"));

    let other = house.registry(json!({"registry_url": "other.example", "name": "other"})).await;
    house.ask("echo", &hash, &other).await;
    house.pushed().await;
    let moved = explain().await;
    assert_eq!(moved["pulled_as"], format!("other.example/algorithms/ann/echo:{hash}"));
    assert_eq!(moved["pull_secret"]["has_login"], false);
    let considered = moved["considered"].as_array().expect("a list");
    let of = |success: &Value| (success["registry_id"].clone(), success["decided"].clone());
    let registries: Vec<_> = considered.iter().map(of).collect();
    assert_eq!(registries, [(json!(other), json!(true)), (json!(corp), json!(false))]);

    house.compiled("ann", "echo", &"b".repeat(40), 'b').await;
    let behind = explain().await;
    assert!(said(&behind).1.ends_with("; the newest image of this tag is not pushed yet"), "{behind}");
    assert_eq!(behind["behind"], true);

    house.raw(&format!("DELETE /v1/registries/{other}"), &house.admin, "").await.ok();
    let back = explain().await;
    assert_eq!(back["pulled_as"], to);
    let gone = (&back["considered"][0]["registry_id"], &back["considered"][0]["registry_deleted"]);
    assert_eq!(gone, (&json!(other), &json!(true)));
    house.raw(&format!("DELETE /v1/registries/{corp}"), &house.admin, "").await.ok();
    let gone = format!("{asked} was pushed only to registries that have been deleted since");
    assert_eq!(said(&explain().await), ("registries-deleted", &*gone));
}

#[tokio::test]
async fn a_stranger_does_not_learn_whether_an_image_exists() {
    let house = House::new().await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    house.algorithm(&ann, "ann", "echo").await;
    house.algorithm(&bob, "bob", "own").await;
    house.build("ann", "echo", 'a').await;
    house.build("bob", "own", 'b').await;
    let reader = house.call("POST /v1/users/hook/keys", &house.admin, json!({"key_type": "RouteReaderKey"}));
    let reader = reader.await.ok()["api_key"].as_str().expect("a key").to_owned();

    let mut messages = Vec::new();
    for image in ["algorithms/ann/echo:latest", "algorithms/ann/nothing:latest", "algorithms/eve/x"] {
        let image = format!("127.0.0.1:1/{image}");
        let refused = house.explain(&image, &bob).await;
        assert_eq!(refused.refused(), (404, 7007), "{image}");
        messages.push(refused.message().to_owned());
        assert_eq!(house.explain(&image, &reader).await.refused(), (403, 2001));
        assert_eq!(house.explain(&image, "simWRONG").await.refused(), (401, 2002));
        house.explain(&image, &house.admin).await.ok();
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let own = house.explain("127.0.0.1:1/algorithms/bob/own:none", &bob).await.ok();
    assert_eq!(said(&own).0, "never-compiled");
}

#[tokio::test]
async fn an_image_is_asked_about_as_people_write_it() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    let registry = house.registry(json!({"registry_url": "corp.example/team"})).await;
    house.ask("echo", &hash, &registry).await;
    house.pushed().await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let to = "corp.example/team/algorithms/ann/echo";
    for (image, pulled_as) in [
        (SOURCE.to_owned(), format!("{to}:{hash}")),
        (format!(" {SOURCE}:{hash} "), format!("{to}:{hash}")),
        (format!("{SOURCE}@{digest}"), format!("{to}@{digest}")),
        (format!("{SOURCE}:none@{digest}"), format!("{to}@{digest}")),
        (format!("pods.example:5000/algorithms/ann/echo:{hash}"), format!("{to}:{hash}")),
    ] {
        assert_eq!(house.explain(&image, &ann).await.ok()["pulled_as"], pulled_as, "{image}");
    }
    for named in [format!("{to}:{hash}"), format!("{to}:other"), format!("{to}@{digest}")] {
        let destination = house.explain(&named, &ann).await.ok();
        assert_eq!(
            said(&destination),
            ("destination", &*format!("{named} already names registry {registry}"))
        );
        assert_eq!(destination["pull_secret"]["has_login"], false);
    }
    let foreign = house.explain("redis:7", &house.admin).await.ok();
    assert_eq!(said(&foreign).0, "foreign");
    let lookalike = house.explain(&format!("elsewhere.example/algorithms/ann/echo:{hash}"), &ann).await.ok();
    assert_eq!((said(&lookalike).0, &lookalike["considered"]), ("foreign", &json!([])));

    let long = format!("h.example/{}", "a/".repeat(400));
    for bad in
        ["", "UPPER", "a:b:c", "https://h.example/x", "docker://redis", "h.example/x@sha256:12", &long, "a b"]
    {
        let refused = house.explain(bad, &ann).await;
        assert_eq!(refused.refused(), (400, 6001), "{bad}");
        assert!(refused.message().starts_with("`image`: "), "{bad}: {}", refused.message());
    }
    assert_eq!(house.get("/v1/explain", &ann).await.refused(), (400, 6001));
}

/// What the table of a webhook decides that has followed the feed.
async fn followed(house: &House) -> Table {
    let page: FactPage =
        serde_json::from_value(house.get("/v1/routes", &house.admin).await.ok()).expect("a page");
    assert_eq!(page.upto, page.head, "one page holds all");
    let mut table = Table::new([7; 16], &["pods.example:5000".parse().expect("an address")]);
    page.facts.into_iter().for_each(|fact| table.apply(fact));
    table
}

/// A ledger of rebuilds, failures, moves and deletions, and every name in it that one could ask about.
async fn generated(house: &House, seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let ann = house.user("ann").await;
    for name in ["echo", "hello"] {
        house.algorithm(&ann, "ann", name).await;
    }
    let mut registries = Vec::new();
    for number in 0..3 {
        let url = format!("r{number}.example/{}", ["a", "a/b", "c"][number]);
        registries.push(house.registry(json!({"registry_url": url})).await);
    }
    let hashes = ["a".repeat(40), "b".repeat(40), "c".repeat(40)];
    for _ in 0..30 {
        let name = ["echo", "hello"][below(2) as usize];
        let (hash, digit) = (&hashes[below(3) as usize], ['1', '2', '3', '4'][below(4) as usize]);
        let number = below(3) as usize;
        let registry = &registries[number];
        match below(8) {
            0..=2 => house.compiled("ann", name, hash, digit).await,
            3 => {
                let moved = json!({"registry_url": format!("r{number}.example/moved{}", below(2))});
                house.call(&format!("PUT /v1/registries/{registry}"), &house.admin, moved).await;
            }
            4 if below(2) == 0 => {
                house.raw(&format!("DELETE /v1/registries/{registry}"), &house.admin, "").await;
            }
            _ => {
                let path = format!("POST /v1/algorithms/ann/{name}/versions/{hash}/registry");
                house.call(&path, &house.admin, json!({"registry_id": registry})).await;
                if below(4) > 0 {
                    house.pushed().await;
                }
            }
        }
    }
    let mut names = Vec::new();
    for place in [
        "127.0.0.1:1",
        "pods.example:5000",
        "r0.example/a",
        "r1.example/a/b",
        "r2.example/moved1",
        "x.example",
    ] {
        for name in ["echo", "hello", "none"] {
            let repository = format!("{place}/algorithms/ann/{name}");
            names.push(repository.clone());
            names.extend(hashes.iter().map(|hash| format!("{repository}:{hash}")));
            names.extend(
                ['1', '2', '5'].map(|digit| format!("{repository}@sha256:{}", digit.to_string().repeat(64))),
            );
        }
    }
    names
}

#[tokio::test]
async fn an_explanation_is_what_an_admission_decides() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in [3, 5, 8, 13, 21] {
        let house = House::new().await;
        let names = generated(&house, seed).await;
        if seed == 21 {
            for registry in house.store.registries().await.expect("a store") {
                house.store.remove_registry(registry.id, false).await.expect("removed");
            }
        }
        let table = followed(&house).await;
        for name in names {
            let explanation = house.explain(&name, &house.admin).await.ok();
            let decision = table.decide(&name);
            let (word, sentence) = said(&explanation);
            assert_eq!(sentence, decision.sentence(&name), "seed {seed}");
            let to = match decision {
                Decision::Routed(routed) => json!(routed.to),
                _ => Value::Null,
            };
            assert_eq!(explanation["pulled_as"], to);
            assert_eq!(explanation["push"].is_object(), word == "routed", "{explanation}");
            seen.insert(word.to_owned());
        }
    }
    assert_eq!(seen.len(), 6, "every kind of decision is met: {seen:?}");
}
