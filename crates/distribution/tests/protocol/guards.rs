//! Claims about where a registry may lead us, and what goes along.

use distribution::{Cause, Error, ManifestRef, Presence};
use domain::push::Reason;

use crate::scripted::{Reply, Scripted};
use crate::tls::{secure, trusting};
use crate::{blob_of, digest_of, failure, registry, repository, tag, upload};

fn why(error: &Error) -> &'static str {
    match error.cause {
        Cause::Misled { why, .. } => why,
        _ => panic!("{error:?}"),
    }
}

async fn bytes(server: &Scripted) -> Result<bytes::Bytes, Error> {
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    registry.blob_bytes(&repository(), &digest_of(b"layer"), 100).await
}

/// Asks for Basic, then redirects blobs.
async fn redirecting(to: impl Fn(u16) -> String + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |seen| match seen.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        Some(_) => Reply::new(307).header("Location", to(0)),
    })
    .await
}

#[tokio::test]
async fn a_redirect_to_another_host_is_followed_without_the_login() {
    let storage = Scripted::start(|_| Reply::new(200).body("layer")).await;
    let there = storage.host.clone();
    let server = redirecting(move |_| format!("http://user:secret@{there}/bucket?signature=s")).await;
    assert_eq!(bytes(&server).await.expect("the blob"), "layer");
    let [seen] = &storage.seen()[..] else { panic!("one request") };
    assert_eq!((seen.header("authorization"), seen.path.as_str()), (None, "/bucket?signature=s"));
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("drayage/")));
}

#[tokio::test]
async fn a_redirect_to_a_neighbours_zone_or_to_link_local_is_refused() {
    for to in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
        "http://0xa9fea9fe/",
    ] {
        let server = redirecting(move |_| to.to_owned()).await;
        let error = bytes(&server).await.expect_err(to);
        assert!(why(&error).contains("local"), "{error:?}");
        assert_eq!(failure(&error, "hunter2").reason, Reason::Unsupported);
    }
}

#[tokio::test]
async fn redirects_end_after_five() {
    let server = Scripted::start(|seen| Reply::new(302).header("Location", format!("{}x", seen.path))).await;
    let error = bytes(&server).await.expect_err("a loop");
    assert_eq!(why(&error), "more than 5 redirects");
    assert_eq!(server.lines().len(), 6);
}

#[tokio::test]
async fn a_scheme_that_is_no_http_is_refused() {
    let server = redirecting(|_| "file:///etc/passwd".to_owned()).await;
    assert_eq!(why(&bytes(&server).await.expect_err("a file")), "neither https nor http");
}

#[tokio::test]
async fn the_words_of_another_host_enter_no_message() {
    let storage = Scripted::start(|_| Reply::new(403).body("AccessDenied by storage")).await;
    let there = storage.host.clone();
    let server = redirecting(move |_| format!("http://{there}/")).await;
    let error = bytes(&server).await.expect_err("refused");
    let failure = failure(&error, "hunter2");
    assert!(failure.message.contains("403") && !failure.message.contains("AccessDenied"), "{failure:?}");
    // Nor is it the login that the other host refuses.
    assert_eq!(failure.reason, Reason::DestinationUnreachable);
}

#[tokio::test]
async fn a_storage_that_is_down_does_not_make_the_registry_down() {
    let storage = Scripted::start(|_| Reply::new(200)).await.host.clone();
    let server = redirecting(move |_| format!("http://{storage}/")).await;
    let failure = failure(&bytes(&server).await.expect_err("nobody there"), "hunter2");
    assert_eq!(
        (failure.reason, failure.registry_down),
        (Reason::DestinationUnreachable, false),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_realm_in_another_zone_gets_no_login() {
    let server = Scripted::start(|_| {
        Reply::new(401).header("WWW-Authenticate", "Bearer realm=\"http://192.168.0.1/token\"")
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    let error = registry.resolve(&repository(), &tag("v1")).await.expect_err("misled");
    assert!(why(&error).contains("local"));
}

#[tokio::test]
async fn a_realm_on_another_host_gets_the_login_and_its_redirect_to_a_third_does_not() {
    let third = Scripted::start(|_| Reply::new(200).body("{\"token\":\"T\"}")).await;
    let location = format!("http://{}/", third.host);
    let realm = Scripted::start(move |_| Reply::new(302).header("Location", location.clone())).await;
    let bearer = format!("Bearer realm=\"http://{}/token\"", realm.host);
    let server = Scripted::start(move |seen| match seen.header("authorization") {
        Some("Bearer T") => Reply::new(404),
        _ => Reply::new(401).header("WWW-Authenticate", bearer.clone()),
    })
    .await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    assert!(realm.seen()[0].header("authorization").is_some_and(|it| it.starts_with("Basic ")));
    assert_eq!(third.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_challenge_of_another_host_is_not_answered() {
    let storage = Scripted::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic")).await;
    let there = storage.host.clone();
    let server = redirecting(move |_| format!("http://{there}/")).await;
    bytes(&server).await.expect_err("refused");
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn a_manifest_never_follows_a_redirect() {
    let elsewhere = Scripted::start(|_| Reply::new(201)).await;
    let location = format!("http://{}/", elsewhere.host);
    let server = Scripted::start(move |_| Reply::new(307).header("Location", location.clone())).await;
    let text = r#"{"manifests":[]}"#;
    let manifest =
        distribution::Manifest::new(text.into(), digest_of(text.as_bytes()), None).expect("an index");
    let at = ManifestRef::Digest(manifest.digest.clone());
    registry(&server.host, None).put_manifest(&repository(), &at, &manifest).await.expect_err("a redirect");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_storage_that_forbids_a_look_leaves_it_open_whether_the_blob_is_there() {
    let storage = Scripted::start(|_| Reply::new(403)).await;
    let there = storage.host.clone();
    let server = redirecting(move |_| format!("http://{there}/")).await;
    let registry = registry(&server.host, Some(("ann", "hunter2")));
    assert_eq!(
        registry.find_blob(&repository(), &blob_of(b"layer")).await.expect("an answer"),
        Presence::Absent
    );
}

#[tokio::test]
async fn nothing_leads_from_https_to_http() {
    let plain = Scripted::start(|_| Reply::new(200).body("{\"token\":\"T\"}")).await;
    let to = format!("http://{}/token", plain.host);
    for reply in [
        Reply::new(307).header("Location", to.clone()),
        Reply::new(401).header("WWW-Authenticate", format!("Bearer realm=\"{to}\"")),
    ] {
        let (host, pem) = secure(move |_| reply.clone()).await;
        let error = trusting(&host, &pem).resolve(&repository(), &tag("v1")).await.expect_err("weaker");
        assert_eq!(why(&error), "https would become http");
    }
    let (host, pem) = secure(move |_| Reply::new(202).header("Location", to.clone())).await;
    let registry = trusting(&host, &pem);
    let error = upload(&registry, b"layer").await.expect_err("weaker");
    assert_eq!(why(&error), "https would become http");
    assert!(plain.seen().is_empty());
}
