//! Claims about token services.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Cause, ManifestRef, Registry, Transport};
use domain::credentials::Credentials;
use domain::push::Reason;
use futures_util::future::join_all;

use crate::scripted::{Reply, Scripted, Seen};
use crate::{digest_of, failure, registry, repository, tag, upload};

/// `Basic` of ann and hunter2.
const BASIC: &str = "Basic YW5uOmh1bnRlcjI=";

fn challenge(host: &str, more: &str) -> Reply {
    let bearer = format!("Bearer realm=\"http://{host}/token\",service=\"test\"{more}");
    Reply::new(401).header("WWW-Authenticate", bearer)
}

fn host(seen: &Seen) -> &str {
    seen.header("host").unwrap_or_default()
}

/// A registry that takes the tokens `prefix0`, `prefix1`, … from the `n`th on.
async fn with_tokens(takes_from: usize, fields: &'static str) -> Scripted {
    let given = AtomicUsize::new(0);
    Scripted::start(move |seen| match seen.line().as_str() {
        "GET /token" if seen.header("authorization") == Some(BASIC) => {
            let number = given.fetch_add(1, Ordering::SeqCst);
            Reply::new(200).body(format!("{{\"token\":\"T{number}\"{fields}}}"))
        }
        "GET /token" => Reply::new(401),
        _ => {
            let number = seen
                .header("authorization")
                .and_then(|it| it.strip_prefix("Bearer T")?.parse::<usize>().ok());
            match number {
                Some(number) if number >= takes_from => {
                    Reply::new(200).header("Docker-Content-Digest", digest_of(b"x").as_str())
                }
                _ => challenge(host(seen), ""),
            }
        }
    })
    .await
}

fn count(server: &Scripted, line: &str) -> usize {
    server.lines().iter().filter(|seen| *seen == line).count()
}

#[tokio::test]
async fn a_token_is_fetched_once_however_many_ask() {
    let server = with_tokens(0, "").await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let (repository, at) = (repository(), tag("v1"));
    for found in join_all((0..20).map(|_| registry.resolve(&repository, &at))).await {
        assert!(found.expect("an answer").is_some());
    }
    assert_eq!(count(&server, "GET /token"), 1);
    let asked = server.seen().into_iter().find(|seen| seen.path.starts_with("/token")).expect("one");
    assert_eq!(asked.path, "/token?service=test&scope=repository%3Aacme%2Falgorithms%2Fx%3Apull");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed() {
    let server = with_tokens(0, "").await;
    let first = registry(&server.host, Some(("ann", "hunter2")));
    first.resolve(&repository(), &tag("v1")).await.expect("an answer");
    drop(server);

    let revoked = std::sync::Arc::new(AtomicUsize::new(0));
    let floor = revoked.clone();
    let given = AtomicUsize::new(0);
    let server = Scripted::start(move |seen| match seen.line().as_str() {
        "GET /token" => Reply::new(200)
            .body(format!("{{\"access_token\":\"T{}\"}}", given.fetch_add(1, Ordering::SeqCst))),
        _ => {
            let number = seen
                .header("authorization")
                .and_then(|it| it.strip_prefix("Bearer T")?.parse::<usize>().ok());
            match number {
                Some(number) if number >= floor.load(Ordering::SeqCst) => Reply::new(404),
                _ => challenge(host(seen), ",error=\"invalid_token\""),
            }
        }
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    revoked.store(1, Ordering::SeqCst);
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    assert_eq!(count(&server, "GET /token"), 2);
}

#[tokio::test]
async fn a_token_that_has_run_out_is_not_used() {
    let server = with_tokens(0, ",\"expires_in\":0").await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    for _ in 0..2 {
        registry.resolve(&repository(), &tag("v1")).await.expect("an answer");
    }
    assert_eq!(count(&server, "GET /token"), 2);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_means_denied_and_ends() {
    let server = with_tokens(99, "").await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let error = upload(&registry, b"layer").await.expect_err("denied");
    assert_eq!(failure(&error, "hunter2").reason, Reason::Denied);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_login_that_the_token_service_refuses_is_refused() {
    let server = with_tokens(0, "").await;
    let registry = registry(&server.host, Some(("ann", "hunter3")));
    let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("refused");
    assert_eq!(failure(&error, "hunter3").reason, Reason::CredentialsRefused);
}

#[tokio::test]
async fn a_good_login_is_proven_by_its_token() {
    let server = with_tokens(0, "").await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    registry.resolve(&repository(), &tag("v1")).await.expect("an answer");
    registry.prove_login().await.expect("proven");
    assert_eq!(count(&server, "GET /v2/"), 0);
}

#[tokio::test]
async fn an_identity_token_is_sent_as_a_form_and_its_refusal_is_the_logins() {
    let server = Scripted::start(|seen| match seen.line().as_str() {
        "POST /token" if seen.body.ends_with(b"refresh_token=R%26D") => {
            Reply::new(200).body("{\"access_token\":\"T\"}")
        }
        "POST /token" => Reply::new(400).body("{\"error\":\"invalid_grant\"}"),
        _ if seen.header("authorization") == Some("Bearer T") => Reply::new(404),
        _ => challenge(host(seen), ""),
    })
    .await;
    let good = registry(&server.host, Some(("<token>", "R&D")));
    assert_eq!(good.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    let stale = registry(&server.host, Some(("<token>", "stale")));
    let error = stale.resolve(&repository(), &tag("v1")).await.expect_err("refused");
    assert!(matches!(error.cause, Cause::LoginRefused(_)), "{error:?}");
}

#[tokio::test]
async fn a_token_service_that_fails_is_named_as_such() {
    for (reply, retry_after) in [
        (Reply::new(503).header("Retry-After", "7").body("hunter2"), Some(7)),
        (Reply::new(200).body("<html>hello"), None),
        (Reply::new(200).body("{\"token\":\"a\\nb\"}"), None),
        (Reply::new(200).body("{\"token\":\"abc\"}").cut(3), None),
    ] {
        let server = Scripted::start(move |seen| match seen.line().as_str() {
            "GET /token" => reply.clone(),
            _ => challenge(host(seen), ""),
        })
        .await;
        let registry = registry(&server.host, Some(("ann", "hunter2")));
        let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("no token");
        let failure = failure(&error, "hunter2");
        assert_eq!(failure.reason, Reason::TokenService, "{failure:?}");
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), retry_after);
        assert!(!failure.registry_down);
    }
}

#[tokio::test]
async fn a_challenge_that_leads_to_no_token_is_forgotten() {
    let proven = AtomicUsize::new(0);
    let server = Scripted::start(move |seen| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => Reply::new(404),
        (_, None) => Reply::new(401).header("WWW-Authenticate", "Basic"),
        // The answer of a gateway's, once.
        _ if proven.fetch_add(1, Ordering::SeqCst) == 1 => challenge(host(seen), ""),
        _ => Reply::new(200).header("Docker-Content-Digest", digest_of(b"x").as_str()),
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let (repository, at) = (repository(), tag("v1"));
    registry.resolve(&repository, &at).await.expect("by the login");
    let error = registry.resolve(&repository, &at).await.expect_err("no token");
    assert_eq!(failure(&error, "hunter2").reason, Reason::TokenService);
    registry.resolve(&repository, &at).await.expect("by the login again");
}

#[tokio::test]
async fn a_proof_that_changes_each_time_comes_to_an_end() {
    let server = Scripted::start(|seen| {
        static ROUND: AtomicUsize = AtomicUsize::new(0);
        match seen.line().as_str() {
            "GET /token" => Reply::new(200).body("{\"token\":\"T\"}"),
            _ => challenge(host(seen), &format!(",service=\"{0}\"", ROUND.fetch_add(1, Ordering::SeqCst)))
                .header("WWW-Authenticate", "Basic"),
        }
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let at = ManifestRef::Digest(digest_of(b"x"));
    registry.resolve(&repository(), &at).await.expect_err("no end");
    assert!(server.lines().len() < 10, "{:?}", server.lines());
}

#[tokio::test]
async fn a_later_registry_of_the_same_login_begins_with_the_token_of_the_first() {
    let server = with_tokens(0, "").await;
    let transport = Transport::new(None).expect("a transport");
    let registry = |name, password| {
        let login = Some(Credentials::new(name, password));
        Registry::new(&transport, format!("http://{}", server.host).parse().expect("an address"), login)
    };
    for _ in 0..3 {
        let registry = registry("ann", "hunter2");
        registry.resolve(&repository(), &tag("v1")).await.expect("an answer");
        registry.prove_login().await.expect("proven");
    }
    assert_eq!(server.lines().len(), 5, "a question without a token, the token, and one question each");
    let error = registry("ann", "hunter3").resolve(&repository(), &tag("v1")).await.expect_err("refused");
    assert!(matches!(error.cause, Cause::LoginRefused(_)), "{error:?}");
}

#[tokio::test]
async fn a_kept_token_that_lacks_a_right_is_renewed_before_it_means_denied() {
    let given = AtomicUsize::new(0);
    let granted = std::sync::Arc::new(AtomicUsize::new(usize::MAX));
    let from = granted.clone();
    let server = Scripted::start(move |seen| match seen.line().as_str() {
        "GET /token" => {
            Reply::new(200).body(format!("{{\"token\":\"T{}\"}}", given.fetch_add(1, Ordering::SeqCst)))
        }
        _ => {
            let token = seen.header("authorization").and_then(|it| it.strip_prefix("Bearer T")?.parse().ok());
            match token {
                None => challenge(host(seen), ""),
                Some(number) if from.load(Ordering::SeqCst) <= number => Reply::new(404),
                Some::<usize>(_) => Reply::new(403),
            }
        }
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("denied");
    assert_eq!(failure(&error, "hunter2").reason, Reason::Denied);
    granted.store(1, Ordering::SeqCst);
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_password_that_is_no_longer_good_is_refused_and_not_denied() {
    let good = std::sync::Arc::new(AtomicUsize::new(1));
    let still = good.clone();
    let server = Scripted::start(move |seen| match seen.header("authorization") {
        Some(BASIC) if still.load(Ordering::SeqCst) == 1 => Reply::new(404),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    let transport = Transport::new(None).expect("a transport");
    let registry = || {
        let login = Some(Credentials::new("ann", "hunter2"));
        Registry::new(&transport, format!("http://{}", server.host).parse().expect("an address"), login)
    };
    registry().resolve(&repository(), &tag("v1")).await.expect("an answer");
    good.store(0, Ordering::SeqCst);
    let error = registry().resolve(&repository(), &tag("v1")).await.expect_err("refused");
    assert!(matches!(error.cause, Cause::LoginRefused(_)), "{error:?}");
    registry().prove_login().await.expect_err("it is not taken for good any more");
}

#[tokio::test]
async fn a_challenge_that_is_not_spoken_is_named_and_final() {
    for (challenge, named) in [
        ("Negotiate", "it asks for negotiate authentication; only Bearer and Basic are spoken"),
        ("Bearer realm=\"/token\"", "it asks for bearer (without the URL of a token service)"),
    ] {
        let server = Scripted::start(move |_| Reply::new(401).header("WWW-Authenticate", challenge)).await;
        let registry = registry(&server.host, Some(("ann", "hunter2")));
        let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("not spoken");
        let failure = failure(&error, "hunter2");
        assert_eq!(failure.reason, Reason::Unsupported);
        assert!(failure.message.contains(named), "{}", failure.message);
        assert!(!failure.reason.is_transient());
    }
}
