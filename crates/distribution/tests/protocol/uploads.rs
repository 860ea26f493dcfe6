//! Claims about uploads in one request: how they are asked for, what breaks and stalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use distribution::{Cause, Error, Mounted, UploadError};
use domain::push::Reason;
use futures_util::future::ready;
use futures_util::{StreamExt as _, stream};

use crate::scripted::{Reply, Scripted, Seen};
use crate::{blob_of, digest_of, failure, registry, repository, upload};

const LAYER: &[u8] = b"0123456789";

#[tokio::test]
async fn every_form_of_a_location_is_understood() {
    for location in ["/up/1", "/up/1?state=a%2Bb%3D", "http://HOST/up/1?_state=x", "?state=y"] {
        let server = Scripted::start(move |seen| match seen.method.as_str() {
            "POST" => Reply::new(202)
                .header("Location", location.replace("HOST", seen.header("host").expect("one"))),
            _ => Reply::new(201),
        })
        .await;
        let registry = registry(&server.host, None);
        upload(&registry, LAYER).await.expect("taken");
        assert_eq!(server.seen()[0].header("content-length"), Some("0"));
        let put = &server.seen()[1];
        let digest = digest_of(LAYER).as_str().replace(':', "%3A");
        let query = location.split_once('?').map(|(_, query)| format!("{query}&")).unwrap_or_default();
        assert!(put.path.ends_with(&format!("?{query}digest={digest}")), "{}", put.path);
        assert_eq!((put.body.as_slice(), put.header("content-length")), (LAYER, Some("10")));
        assert_eq!(put.header("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn a_body_that_fails_is_told_from_a_registry_that_fails() {
    let server = Scripted::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up"),
        _ => Reply::new(500),
    })
    .await;
    let registry = registry(&server.host, None);
    let pieces = |_| ready(Ok(stream::iter([Ok(Bytes::from_static(b"0123")), Err("the source broke")])));
    let error = registry.upload(&repository(), None, &blob_of(LAYER), pieces).await.expect_err("broken");
    assert!(matches!(error, UploadError::Body("the source broke")), "{error:?}");
    let nothing = |_| ready(Err::<stream::Empty<_>, _>("there is no source"));
    let error = registry.upload(&repository(), None, &blob_of(LAYER), nothing).await.expect_err("broken");
    assert!(matches!(error, UploadError::Body("there is no source")), "{error:?}");
    let error = upload(&registry, LAYER).await.expect_err("broken");
    assert_eq!(error.answer().map(|answer| answer.status.as_u16()), Some(500), "{error:?}");
}

/// Takes the tokens `0`, `1`, … from the `floor`th on, and gives the next one each time it is asked.
async fn with_tokens(
    floor: Arc<AtomicUsize>,
    then: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> Scripted {
    let given = AtomicUsize::new(0);
    Scripted::start(move |seen| {
        if seen.line() == "GET /token" {
            let number = given.fetch_add(1, Ordering::SeqCst);
            return Reply::new(200).body(format!("{{\"token\":\"{number}\"}}"));
        }
        let number = seen.header("authorization").and_then(|it| it.strip_prefix("Bearer ")?.parse().ok());
        match number {
            Some::<usize>(number) if number >= floor.load(Ordering::SeqCst) => then(seen),
            _ => {
                let bearer = format!("Bearer realm=\"http://{}/token\"", seen.header("host").expect("one"));
                Reply::new(401).header("WWW-Authenticate", bearer)
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_runs_out_before_a_blob_costs_a_second_upload_with_another_token() {
    let floor = Arc::new(AtomicUsize::new(0));
    let rising = floor.clone();
    let server = with_tokens(floor, move |seen| match seen.method.as_str() {
        "POST" => {
            // The first token is good for nothing but the question.
            rising.store(1, Ordering::SeqCst);
            Reply::new(202).header("Location", "/up")
        }
        _ => Reply::new(201),
    })
    .await;
    upload(&registry(&server.host, None), LAYER).await.expect("taken");
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| *line == "PUT /up").count(), 2, "{lines:?}");
    assert_eq!(server.seen().last().map(|seen| seen.body.clone()).as_deref(), Some(LAYER));
}

#[tokio::test]
async fn a_token_that_is_never_good_for_a_blob_is_told_and_not_asked_for_without_end() {
    let (floor, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let rising = floor.clone();
    let server = with_tokens(floor, move |_| {
        rising.store(tokens.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Reply::new(202).header("Location", "/up")
    })
    .await;
    let error = upload(&registry(&server.host, None), LAYER).await.expect_err("run out");
    assert!(matches!(error.cause, Cause::TokenExpired), "{error:?}");
    assert!(server.lines().len() < 12, "{:?}", server.lines());
}

/// How an upload ends at a registry that never answers it, as soon as nothing happens any more.
async fn unanswered(location: &'static str, bytes: Vec<u8>) -> Error {
    let reached = Arc::new(tokio::sync::Notify::new());
    let reaching = reached.clone();
    let server = Scripted::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", location),
        _ => {
            reaching.notify_one();
            Reply::silence()
        }
    })
    .await;
    let registry = registry(&server.host, None);
    let pausing = async {
        reached.notified().await;
        tokio::time::pause();
    };
    let (ended, ()) = tokio::join!(upload(&registry, &bytes), pausing);
    let error = ended.expect_err("no answer");
    assert_eq!(failure(&error, "hunter2").reason, Reason::DestinationUnreachable);
    error
}

#[tokio::test]
async fn a_registry_that_takes_a_blob_and_never_answers_is_given_ten_minutes() {
    let error = unanswered("/up", LAYER.to_vec()).await;
    assert!(matches!(error.cause, Cause::Stalled(600)), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_takes_no_more_of_a_blob_is_given_one_minute() {
    // More than the sockets of both sides hold.
    let error = unanswered("/takes/0", vec![7; 64 << 20]).await;
    assert!(matches!(error.cause, Cause::Stalled(60)), "{error:?}");
}

#[tokio::test]
async fn a_body_ends_when_the_upload_is_dropped() {
    let server = Scripted::start(|_| Reply::new(202).header("Location", "/up")).await;
    let registry = registry(&server.host, None);
    let (sender, receiver) = tokio::sync::mpsc::channel::<()>(1);
    let pieces = stream::unfold((true, sender), async |(first, sender)| match first {
        true => Some((Ok::<_, Error>(Bytes::from_static(b"0")), (false, sender))),
        false => {
            sender.send(()).await.ok();
            std::future::pending().await
        }
    });
    let (repository, blob) = (repository(), blob_of(LAYER));
    let mut pieces = Some(pieces.boxed());
    let read = move |_| ready(Ok(pieces.take().expect("it is read once")));
    let upload = Box::pin(registry.upload(&repository, None, &blob, read));
    let mut receiver = receiver;
    tokio::select! {
        _ = upload => panic!("the body has not ended"),
        asked = receiver.recv() => assert!(asked.is_some()),
    }
    assert_eq!(receiver.recv().await, None);
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_is_read() {
    let server = Scripted::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/takes/0"),
        _ => Reply::new(403),
    })
    .await;
    let registry = registry(&server.host, None);
    let error = upload(&registry, &vec![7; 8 << 20]).await.expect_err("refused");
    assert_eq!(failure(&error, "hunter2").reason, Reason::Denied, "{error:?}");
}

#[tokio::test]
async fn an_upload_that_has_waited_too_long_is_not_used() {
    let server = Scripted::start(|seen| match seen.method.as_str() {
        "POST" => {
            Reply::new(202).header("Location", if seen.path.contains("mount=") { "/old" } else { "/new" })
        }
        _ => Reply::new(201),
    })
    .await;
    let registry = registry(&server.host, None);
    let read = |_| ready(Ok(stream::iter([Ok::<_, Error>(Bytes::from_static(LAYER))])));
    tokio::time::pause();
    for (waits, used) in [(Duration::from_secs(200), "PUT /old"), (Duration::from_secs(400), "PUT /new")] {
        let mounted = registry.mount(&repository(), &repository(), &digest_of(LAYER)).await;
        let Ok(Mounted::Upload(opened)) = mounted else { panic!("{mounted:?}") };
        tokio::time::advance(waits).await;
        registry.upload(&repository(), Some(opened), &blob_of(LAYER), read).await.expect("taken");
        assert_eq!(server.lines().last().map(String::as_str), Some(used));
    }
}
