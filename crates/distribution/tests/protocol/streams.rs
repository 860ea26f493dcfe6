//! Claims about bodies: reads that break, uploads that stall.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use distribution::{Cause, Check, Error, UploadError};
use domain::push::Reason;
use futures_util::{StreamExt as _, stream};

use crate::scripted::{Reply, Scripted};
use crate::{blob_of, digest_of, failure, registry, repository, tag};

const LAYER: &[u8] = b"0123456789";

async fn read(server: &Scripted) -> Result<Vec<u8>, Error> {
    let mut body =
        registry(&server.host, None).read_blob(&repository(), &blob_of(LAYER), Check::Digest).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Cuts its first answer after four bytes and goes on as `then` says.
async fn breaking(then: impl Fn() -> Reply + Send + Sync + 'static) -> Scripted {
    let asked = AtomicUsize::new(0);
    Scripted::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(200).body(LAYER).cut(4),
        _ => then(),
    })
    .await
}

#[tokio::test]
async fn a_read_that_breaks_goes_on_where_it_broke() {
    let server = breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/10").body(&LAYER[4..])).await;
    assert_eq!(read(&server).await.expect("the blob"), LAYER);
    assert_eq!(server.seen()[1].header("range"), Some("bytes=4-"));
}

#[tokio::test]
async fn a_registry_that_ignores_the_range_is_read_from_the_beginning() {
    let server = breaking(|| Reply::new(200).body(LAYER)).await;
    assert_eq!(read(&server).await.expect("the blob"), LAYER);
}

#[tokio::test]
async fn a_read_that_goes_on_with_other_bytes_is_corrupt() {
    let server = breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/10").body("xxxxxx")).await;
    let error = read(&server).await.expect_err("other bytes");
    assert_eq!(error.failure(distribution::Side::Source).reason, Reason::SourceCorrupt);
}

#[tokio::test]
async fn a_read_that_breaks_for_ever_ends_as_unreachable() {
    tokio::time::pause();
    let server =
        breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/10").body(&LAYER[4..]).cut(0)).await;
    let error = read(&server).await.expect_err("broken");
    assert_eq!(error.failure(distribution::Side::Source).reason, Reason::SourceUnreachable, "{error:?}");
    assert!(server.lines().len() < 10);
}

#[tokio::test]
async fn the_last_piece_of_a_corrupt_blob_is_never_handed_out() {
    let server = Scripted::start(|_| Reply::new(200).body("012345678X")).await;
    let mut body = registry(&server.host, None)
        .read_blob(&repository(), &blob_of(LAYER), Check::Digest)
        .await
        .expect("a body");
    let mut read = 0;
    let error = loop {
        match body.next().await {
            Ok(piece) => read += piece.expect("no end before the error").len(),
            Err(error) => break error,
        }
    };
    assert!(read < LAYER.len());
    assert!(matches!(error.cause, Cause::Mismatch { .. }));
}

#[tokio::test]
async fn a_blob_of_another_size_than_the_manifest_says_is_corrupt_before_a_byte_moves() {
    for body in ["012345678", "0123456789x"] {
        let server = Scripted::start(move |_| Reply::new(200).body(body)).await;
        let error = read(&server).await.expect_err("another size");
        assert!(matches!(error.cause, Cause::Mismatch { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_given_up_meanwhile_costs_nothing() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(404),
        1 => Reply::hang_up(),
        _ => Reply::new(404),
    })
    .await;
    let registry = registry(&server.host, None);
    for _ in 0..2 {
        assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    }
    assert_eq!(server.lines().len(), 3);
}

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
        let session = registry.start_upload(&repository()).await.expect("an upload");
        let pieces = stream::iter([Ok::<_, Error>(Bytes::from_static(LAYER))]);
        registry.upload(&repository(), session, &blob_of(LAYER), pieces).await.expect("taken");
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
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let pieces = stream::iter([Ok(Bytes::from_static(b"0123")), Err("the source broke")]);
    let error = registry.upload(&repository(), session, &blob_of(LAYER), pieces).await.expect_err("broken");
    assert!(matches!(error, UploadError::Body("the source broke")), "{error:?}");
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let pieces = stream::iter([Ok::<_, &str>(Bytes::from_static(LAYER))]);
    let error = registry.upload(&repository(), session, &blob_of(LAYER), pieces).await.expect_err("broken");
    assert!(matches!(error, UploadError::Registry(_)), "{error:?}");
}

#[tokio::test]
async fn a_token_that_runs_out_before_an_upload_asks_for_a_new_upload() {
    let server = Scripted::start(|seen| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => Reply::new(200).body("{\"token\":\"T\"}"),
        ("POST /v2/acme/algorithms/x/blobs/uploads/", Some(_)) => Reply::new(202).header("Location", "/up"),
        _ => {
            let bearer = format!("Bearer realm=\"http://{}/token\"", seen.header("host").expect("one"));
            Reply::new(401).header("WWW-Authenticate", bearer)
        }
    })
    .await;
    let registry = registry(&server.host, None);
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let pieces = stream::iter([Ok::<_, Error>(Bytes::from_static(LAYER))]);
    let error = registry.upload(&repository(), session, &blob_of(LAYER), pieces).await.expect_err("run out");
    assert!(matches!(&error, UploadError::Registry(Error { cause: Cause::TokenExpired, .. })), "{error:?}");
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
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let (repository, blob) = (repository(), blob_of(&bytes));
    let pieces: Vec<_> =
        bytes.chunks(1 << 16).map(|piece| Ok::<_, Error>(Bytes::copy_from_slice(piece))).collect();
    let upload = registry.upload(&repository, session, &blob, stream::iter(pieces));
    let pausing = async {
        reached.notified().await;
        tokio::time::pause();
    };
    let (ended, ()) = tokio::join!(upload, pausing);
    let Err(UploadError::Registry(error)) = ended else { panic!("{ended:?}") };
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
    let error = unanswered("/unread", vec![7; 64 << 20]).await;
    assert!(matches!(error.cause, Cause::Stalled(60)), "{error:?}");
}

#[tokio::test]
async fn a_body_ends_when_the_upload_is_dropped() {
    let server = Scripted::start(|_| Reply::new(202).header("Location", "/up")).await;
    let registry = registry(&server.host, None);
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let (sender, receiver) = tokio::sync::mpsc::channel::<()>(1);
    let pieces = stream::unfold((true, sender), async |(first, sender)| match first {
        true => Some((Ok::<_, Error>(Bytes::from_static(b"0")), (false, sender))),
        false => {
            sender.send(()).await.ok();
            std::future::pending().await
        }
    });
    let (repository, blob) = (repository(), blob_of(LAYER));
    let upload = Box::pin(registry.upload(&repository, session, &blob, pieces.boxed()));
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
        "POST" => Reply::new(202).header("Location", "/unread"),
        _ => Reply::new(413),
    })
    .await;
    let registry = registry(&server.host, None);
    let large = vec![7; 8 << 20];
    let session = registry.start_upload(&repository()).await.expect("an upload");
    let pieces: Vec<_> =
        large.chunks(1 << 16).map(|piece| Ok::<_, Error>(Bytes::copy_from_slice(piece))).collect();
    let ended = registry.upload(&repository(), session, &blob_of(&large), stream::iter(pieces)).await;
    let Err(UploadError::Registry(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(failure(&error, "hunter2").reason, Reason::TooLarge, "{error:?}");
}
