//! Claims about what refusals and odd answers of a destination mean.

use distribution::{Cause, Manifest, ManifestRef, Mounted};
use domain::push::{Failure, Reason};

use crate::scripted::{Reply, Scripted};
use crate::{digest_of, failure, registry, repository, tag, upload};

fn manifest() -> Manifest {
    let text = r#"{"manifests":[]}"#;
    Manifest::new(text.into(), digest_of(text.as_bytes()), None).expect("an index")
}

async fn writing(reply: Reply) -> Failure {
    let server = Scripted::start(move |_| reply.clone()).await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let error = registry.put_manifest(&repository(), &tag("v1"), &manifest()).await.expect_err("a refusal");
    let failure = failure(&error, "hunter2");
    assert!(
        failure.message.contains(&server.host) && failure.message.contains("acme/algorithms/x"),
        "{failure:?}"
    );
    assert!(!failure.registry_down);
    failure
}

fn envelope(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    Reply::new(status).header("Content-Type", "application/json").body(body)
}

#[tokio::test]
async fn each_refusal_of_a_manifest_has_its_reason() {
    let cases = [
        (envelope(403, "DENIED", "requested access is denied"), Reason::Denied),
        (envelope(412, "PRECONDITION", "v1 configured as immutable."), Reason::Conflict),
        (
            envelope(400, "TAG_INVALID", "cannot be overwritten because the tag is immutable"),
            Reason::Conflict,
        ),
        (Reply::new(409), Reason::Conflict),
        (
            envelope(412, "PROJECTPOLICYVIOLATION", "current image with 3 vulnerabilities"),
            Reason::ScanBlocked,
        ),
        (envelope(403, "DENIED", "the image is being scanned"), Reason::ScanBlocked),
        (envelope(429, "TOOMANYREQUESTS", "slow down"), Reason::RateLimited),
        (Reply::new(507), Reason::StorageFull),
        (
            envelope(403, "DENIED", "adding 1 MiB of storage will exceed the configured upper limit"),
            Reason::StorageFull,
        ),
        (envelope(500, "UNKNOWN", "write /data/x: no space left on device"), Reason::StorageFull),
        (Reply::new(413).body("<html>413 Request Entity Too Large</html>"), Reason::TooLarge),
        (Reply::new(502).body("<html><h1>Bad Gateway</h1></html>"), Reason::DestinationUnreachable),
        (envelope(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown"), Reason::DestinationUnreachable),
        (envelope(400, "MANIFEST_INVALID", "no"), Reason::Unsupported),
        (Reply::new(405), Reason::Unsupported),
        (Reply::new(401), Reason::Denied),
    ];
    for (reply, reason) in cases {
        let failure = writing(reply).await;
        assert_eq!(failure.reason, reason, "{failure:?}");
    }
}

#[tokio::test]
async fn a_message_tells_what_came_back_and_what_to_do() {
    let failure = writing(envelope(403, "DENIED", "requested access to the resource is denied\\u0007")).await;
    let (_, message) = failure.message.split_once(": ").expect("a host first");
    assert_eq!(
        message,
        "writing a manifest to acme/algorithms/x: 403 Forbidden (DENIED: requested access to the resource is denied). \
         Give the login the right to push there (some registries want the repository or project made first) and push again."
    );
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_is_heard() {
    let failure = writing(Reply::new(429).header("Retry-After", "11")).await;
    assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), Some(11));
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100)))
        .expect("a date");
    let failure = writing(Reply::new(503).header("Retry-After", date)).await;
    let wait = failure.retry_after.expect("a wait").as_secs();
    assert!((90..=100).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_body_that_repeats_the_login_is_blotted_out() {
    let server = Scripted::start(|seen| match seen.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        Some(login) => Reply::new(500).body(format!("you said {login}, which is hunter2")),
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("a HEAD");
    assert_eq!(failure(&error, "hunter2").reason, Reason::DestinationUnreachable);
    let error = registry.manifest(&repository(), &tag("v1")).await.expect_err("a GET");
    let message = failure(&error, "hunter2").message;
    assert!(!message.contains("YW5uOmh1bnRlcjI") && message.contains("[redacted]"), "{message}");
}

#[tokio::test]
async fn a_password_is_blotted_out_however_it_is_escaped() {
    const PASSWORD: &str = "Pw\"<é>\\&+ 'x";
    for escaped in [
        "Pw%22%3C%C3%A9%3E%5C%26%2B%20%27x",
        "Pw%22%3C%C3%A9%3E%5C%26%2B+%27x",
        r#"Pw\"<é>\\&+ 'x"#,
        r"Pw&quot;&lt;é&gt;\&amp;+ &#39;x",
        "UHciPMOpPlwmKyAneA==",
        "UHciPMOpPlwmKyAneA",
    ] {
        let server = Scripted::start(move |_| Reply::new(500).body(format!("you said {escaped}."))).await;
        let registry = registry(&server.host, Some(("ann", PASSWORD)));
        let error = registry.manifest(&repository(), &tag("v1")).await.expect_err("a GET");
        let message = failure(&error, PASSWORD).message;
        assert!(message.contains("you said [redacted]"), "{escaped}: {message}");
    }
}

#[tokio::test]
async fn a_good_login_without_the_right_is_denied_and_not_refused() {
    let server = Scripted::start(|seen| match (seen.method.as_str(), seen.header("authorization")) {
        ("HEAD", Some(_)) => Reply::new(404),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic"),
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    let error = upload(&registry, b"layer").await.expect_err("no right");
    assert_eq!(failure(&error, "hunter2").reason, Reason::Denied);
}

#[tokio::test]
async fn a_mount_that_is_refused_anyhow_is_no_failure() {
    for status in [401, 403, 404, 405, 500] {
        let server = Scripted::start(move |_| Reply::new(status)).await;
        let from = "acme/base".parse().expect("a repository");
        let mounted = registry(&server.host, None).mount(&repository(), &from, &digest_of(b"x")).await;
        match status {
            404 => assert!(matches!(mounted, Ok(Mounted::Absent)), "{mounted:?}"),
            _ => assert!(matches!(mounted, Ok(Mounted::Refused)), "{status}: {mounted:?}"),
        }
        assert_eq!(
            server.seen()[0].path,
            format!(
                "/v2/acme/algorithms/x/blobs/uploads/?mount={}&from=acme%2Fbase",
                digest_of(b"x").as_str().replace(':', "%3A")
            )
        );
    }
}

#[tokio::test]
async fn an_upload_without_a_location_is_outside_the_specification() {
    let server = Scripted::start(|_| Reply::new(202)).await;
    let error = upload(&registry(&server.host, None), b"layer").await.expect_err("nowhere to go");
    assert_eq!(failure(&error, "hunter2").reason, Reason::Unsupported);
}

#[tokio::test]
async fn a_digest_that_the_registry_does_not_tell_is_computed() {
    let server = Scripted::start(|_| Reply::new(200).body(r#"{"manifests":[]}"#)).await;
    let found = registry(&server.host, None).resolve(&repository(), &tag("v1")).await.expect("an answer");
    assert_eq!(found.expect("there").digest, digest_of(br#"{"manifests":[]}"#));
}

#[tokio::test]
async fn a_manifest_with_other_bytes_than_its_digest_is_refused() {
    let server = Scripted::start(|_| {
        Reply::new(200).header("Docker-Content-Digest", digest_of(b"x").as_str()).body(r#"{"manifests":[]}"#)
    })
    .await;
    let registry = registry(&server.host, None);
    for at in [tag("v1"), ManifestRef::Digest(digest_of(b"x"))] {
        let error = registry.manifest(&repository(), &at).await.expect_err("other bytes");
        assert!(matches!(error.cause, Cause::Mismatch { .. }), "{error:?}");
        assert_eq!(error.failure(distribution::Side::Source).reason, Reason::SourceCorrupt);
    }
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_not_read_to_its_end() {
    let server = Scripted::start(|_| Reply::new(200).body(vec![b' '; 4 * 1024 * 1024 + 1])).await;
    let error =
        registry(&server.host, None).manifest(&repository(), &tag("v1")).await.expect_err("too large");
    assert_eq!(failure(&error, "hunter2").reason, Reason::TooLarge);
}

#[tokio::test]
async fn a_manifest_of_an_unknown_kind_is_unsupported() {
    let server = Scripted::start(|_| Reply::new(200).body(r#"{"schemaVersion":1,"fsLayers":[]}"#)).await;
    let error = registry(&server.host, None).manifest(&repository(), &tag("v1")).await.expect_err("schema 1");
    let failure = failure(&error, "hunter2");
    assert_eq!(failure.reason, Reason::Unsupported);
    assert!(failure.message.contains("neither an image nor an index"), "{}", failure.message);
}
