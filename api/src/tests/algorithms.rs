//! Claims about algorithms, their versions and their builds.

use http::StatusCode;
use serde_json::{Value, json};

use super::{House, NOWHERE};

#[tokio::test]
async fn an_algorithm_that_was_never_compiled_has_no_version() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    let settings =
        json!({"algorithm_callability": "private", "pipeline_enabled": true, "theirs": {"a": [1, null]}});
    let body = json!({"name": "Echo", "settings": settings, "scmsCredentials": {"pat": "x"}});
    let answer = house.call("POST /v1/algorithms/ANN", &ann, body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let made = answer.ok();
    assert_eq!((&made["name"], &made["details"]["label"]), (&json!("Echo"), &json!("Echo")));
    assert_eq!((&made["settings"], &made["source"]["scm"]["name"]), (&settings, &json!("")));
    for absent in ["version_info", "build", "compilation", "self_link", "scmsCredentials"] {
        assert!(made.get(absent).is_none(), "{absent}");
    }
    let id = made["id"].as_str().expect("an id");
    assert_eq!(house.get("/v1/algorithms/Ann/eCHO", &ann).await.ok(), made);
    assert_eq!(house.get(&format!("/v1/algorithms/{id}"), &ann).await.ok(), made);
    let taken = house.call("POST /v1/algorithms/ann", &ann, json!({"name": "ECHO"})).await;
    assert_eq!(taken.refused(), (409, 1002));
}

#[tokio::test]
async fn a_field_that_is_not_right_is_named() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let cases = [
        ("POST /v1/algorithms/ann", json!({}), "name"),
        ("POST /v1/algorithms/ann", json!({"name": "versions"}), "name"),
        ("POST /v1/algorithms/ann", json!({"name": "a b"}), "name"),
        ("POST /v1/algorithms/ann", json!({"name": "x", "details": {"label": 1}}), "details.label"),
        (
            "PUT /v1/algorithms/ann/echo",
            json!({"settings": {"network_access": "some"}}),
            "settings.network_access",
        ),
        (
            "PUT /v1/algorithms/ann/echo",
            json!({"settings": {"royalty_microcredits": -1}}),
            "settings.royalty_microcredits",
        ),
        ("PUT /v1/algorithms/ann/echo", json!({"settings": []}), "settings"),
        ("PUT /v1/algorithms/ann/echo", json!({"settings": {"theirs": "x".repeat(70_000)}}), "settings"),
        ("POST /v1/algorithms/ann/echo/compile", json!({"commitSha": "../x"}), "commitSha"),
        ("POST /v1/algorithms/ann/echo/compile", json!({"commitSha": 1}), "commitSha"),
        (
            "POST /v1/algorithms/ann/echo/version",
            json!({"version_info": {"version_type": "huge"}}),
            "version_info.version_type",
        ),
        (
            "POST /v1/algorithms/ann/echo/version",
            json!({"version_info": {"release_notes": "x".repeat(20_000)}}),
            "version_info.release_notes",
        ),
        (
            "POST /v1/algorithms/ann/echo/version",
            json!({"registry_push_credentials": {"registry_username": "u", "registry_password": "p"}}),
            "registry_id",
        ),
    ];
    for (call, body, field) in cases {
        let refused = house.call(call, &ann, body.clone()).await;
        assert_eq!(refused.refused(), (400, 6001), "{call} {body:.200}");
        assert!(refused.message().contains(&format!("`{field}`")), "{}", refused.message());
    }
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    let body =
        json!({"name": "echo", "details": {"label": "E", "summary": "s"}, "settings": {"a": 1, "b": 2}});
    house.call("POST /v1/algorithms/ann", &ann, body).await.ok();
    let empty =
        json!({"details": {}, "settings": {}, "version_info": {}, "source": {}, "scmsCredentials": {}});
    let same = house.call("PUT /v1/algorithms/ann/echo", &ann, empty).await.ok();
    assert_eq!(same["details"], json!({"label": "E", "summary": "s"}));
    let change = json!({"details": {"summary": null}, "settings": {"b": [3]}});
    let changed = house.call("PUT /v1/algorithms/ann/echo", &ann, change).await.ok();
    assert_eq!(changed["settings"], json!({"a": 1, "b": [3]}));
    assert_eq!(changed["details"], json!({"label": "E", "summary": "s"}));
}

#[tokio::test]
async fn a_tenant_learns_nothing_of_another() {
    let house = House::new().await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let id = house.algorithm(&ann, "ann", "echo").await;
    let hash = house.build("ann", "echo", 'a').await;
    let there = ["ann/echo".to_owned(), "ann/missing".to_owned(), id];
    for algorithm in &there {
        let path = format!("/v1/algorithms/{algorithm}");
        for call in [
            format!("GET {path}"),
            format!("PUT {path}"),
            format!("DELETE {path}"),
            format!("POST {path}/compile"),
            format!("POST {path}/version"),
            format!("GET {path}/versions"),
            format!("GET {path}/versions/{hash}"),
            format!("GET {path}/versions/{hash}/registry"),
            format!("POST {path}/versions/{hash}/registry"),
            format!("GET {path}/builds"),
        ] {
            let refused = house.call(&call, &bob, json!({})).await;
            assert_eq!(refused.refused(), (403, 2001), "{call}");
        }
    }
    house.algorithm(&bob, "bob", "echo").await;
    let other = house.get(&format!("/v1/algorithms/bob/echo/versions/{hash}"), &bob).await;
    assert_eq!(other.refused(), (404, 1014));
    house.get("/v1/algorithms/ann/echo", &house.admin).await.ok();
    let refused = house.call("POST /v1/algorithms/ann/echo/compile", &house.admin, json!({})).await;
    assert_eq!(refused.refused(), (403, 2001));
}

#[tokio::test]
async fn what_is_not_there_is_404_with_its_own_code() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    let id = "0b6e2c2e-5d1c-4a56-9a0d-0d3f1d9f3a11";
    let cases = [
        ("/v1/algorithms/ann/none".to_owned(), 1009),
        (format!("/v1/algorithms/{id}"), 1009),
        ("/v1/algorithms/ann".to_owned(), 1009),
        ("/v1/algorithms/ann/versions".to_owned(), 1009),
        ("/v1/algorithms/ann/echo/versions/nope".to_owned(), 1014),
        ("/v1/algorithms/ann/echo/versions/%20/registry".to_owned(), 1014),
        (format!("/v1/algorithms/ann/echo/builds/{id}"), 1010),
        ("/v1/algorithms/ann/echo/builds/1".to_owned(), 1010),
        (format!("/v1/algorithms/ann/echo/builds/{id}/logs"), 1011),
        ("/v1/algorithms/ann/echo/more/than/there/is".to_owned(), 2015),
    ];
    for (path, code) in cases {
        let answer = house.get(&path, &ann).await;
        assert_eq!(answer.refused(), (404, code), "{path}");
        assert_eq!(answer.message().contains("No such algorithm"), code == 1009, "{path}");
    }
    assert_eq!(house.raw("DELETE /v1/algorithms/ann/echo", &ann, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get("/v1/algorithms/ann/echo", &ann).await.refused(), (404, 1009));
}

#[tokio::test]
async fn a_publication_gives_the_newest_build_a_number() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    let id = house.algorithm(&ann, "ann", "echo").await;
    let by_name = "POST /v1/algorithms/ann/echo/versions".to_owned();
    let by_id = format!("POST /v1/algorithms/{id}/version");
    assert_eq!(house.raw(&by_name, &ann, "").await.refused(), (400, 1010));

    for (call, hex, raise, number) in [
        (&by_name, 'a', "major", "0.1.0"),
        (&by_id, 'b', "revision", "0.1.1"),
        (&by_name, 'c', "minor", "0.2.0"),
        (&by_id, 'd', "major", "1.0.0"),
    ] {
        let hash = house.build("ann", "echo", hex).await;
        let info = json!({"version_type": raise, "release_notes": hash, "sample_input": "42"});
        let body = json!({"settings": {"algorithm_callability": "public"}, "version_info": info});
        let made = house.call(call, &ann, body).await.ok();
        let info = &made["version_info"];
        assert_eq!((&info["semantic_version"], &info["git_hash"]), (&json!(number), &json!(hash)));
        assert_eq!((&info["release_notes"], &info["insights_enabled"]), (&json!(hash), &json!(false)));
        assert_eq!(house.raw(call, &ann, "null").await.refused(), (409, 1007));
    }
    house.build("ann", "echo", 'e').await;
    let last = house.raw(&by_name, &ann, "{}").await.ok();
    assert_eq!(last["version_info"]["semantic_version"], "1.1.0");
    // What was said of the algorithm holds on; what was said of a version stays with it.
    let shown = house.get("/v1/algorithms/ann/echo", &ann).await.ok();
    assert_eq!(shown["settings"]["algorithm_callability"], "public");
    assert_eq!(shown["version_info"]["release_notes"], "");
    assert_eq!(shown["compilation"], json!({"successful": true, "output": "found\n"}));
    let link = shown["self_link"].as_str().expect("a link");
    assert_eq!(house.get(link, &ann).await.ok()["version_info"], shown["version_info"]);
}

#[tokio::test]
async fn a_list_is_walked_page_by_page() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    for hex in ['a', 'b', 'c'] {
        house.build("ann", "echo", hex).await;
    }
    house.raw("POST /v1/algorithms/ann/echo/version", &ann, "").await.ok();
    for list in ["versions", "builds"] {
        let mut next = Some(format!("/v1/algorithms/ann/echo/{list}?limit=2"));
        let mut seen = Vec::new();
        while let Some(path) = next {
            let page = house.get(&path, &ann).await.ok();
            seen.push(page["results"].as_array().expect("a page").len());
            next = page["next_link"].as_str().map(str::to_owned);
            assert_eq!(next.is_some(), page["marker"].is_string());
        }
        assert_eq!(seen, [2, 1], "{list}");
        let get =
            async |query: &str| house.get(&format!("/v1/algorithms/ann/echo/{list}?{query}"), &ann).await;
        assert_eq!(get("limit=0").await.refused(), (400, 5003));
        assert_eq!(get("limit=x").await.refused(), (400, 5003));
        assert_eq!(get("marker=x").await.refused(), (400, 5002));
        assert_eq!(get("marker=0b6e2c2e-5d1c-4a56-9a0d-0d3f1d9f3a11").await.refused(), (400, 5002));
        assert_eq!(get("limit=560").await.ok()["results"].as_array().map(Vec::len), Some(3));
    }
    let hashes = async |query: &str| {
        let page = house.get(&format!("/v1/algorithms/ann/echo/versions?{query}"), &ann).await.ok();
        let results = page["results"].as_array().expect("a page").clone();
        results
            .iter()
            .map(|one| one["version_info"]["git_hash"].as_str().map(|hash| hash[..1].to_owned()))
            .collect::<Option<String>>()
            .expect("hashes")
    };
    assert_eq!(hashes("").await, "cba");
    assert_eq!(hashes("published=True").await, "c");
    assert_eq!(hashes("published=false&callable=TRUE").await, "ba");
    assert_eq!(hashes("callable=false").await, "");
}

#[tokio::test]
async fn an_image_that_cannot_be_looked_for_is_a_failed_build() {
    let house = House::new().await;
    let ann = house.user("ann").await;
    house.algorithm(&ann, "ann", "echo").await;
    for body in ["", "{}", "null"] {
        let made = house.raw("POST /v1/algorithms/ann/echo/compile", &ann, body).await.ok();
        assert_eq!(
            (&made["build"]["status"], &made["compilation"]["successful"]),
            (&json!("failed"), &json!(false))
        );
        let output = made["compilation"]["output"].as_str().expect("an output");
        let host = NOWHERE.trim_start_matches("http://");
        assert!(output.contains("source_unreachable") && output.contains(host), "{output}");
        assert!(made.get("version_info").is_none());
        let id = made["build"]["build_id"].as_str().expect("an id");
        let logs = house.get(&format!("/v1/algorithms/ann/echo/builds/{id}/logs"), &ann).await.ok();
        assert_eq!(logs, json!({"logs": output}));
        let build = house.get(&format!("/v1/algorithms/ann/echo/builds/{id}"), &ann).await.ok();
        assert_eq!(build, made["build"]);
    }
    let shown: Value = house.get("/v1/algorithms/ann/echo", &ann).await.ok();
    assert!(shown.get("build").is_none(), "{shown}");
}
