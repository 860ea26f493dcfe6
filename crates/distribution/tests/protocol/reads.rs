//! Claims about reading blobs: what breaks, drips, lies or goes on elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Cause, Error, ManifestRef, Side};
use domain::push::Reason;

use crate::scripted::{Reply, Scripted};
use crate::{blob_of, digest_of, registry, repository, tag};

const LAYER: &[u8] = b"0123456789";

async fn read(server: &Scripted) -> Result<Vec<u8>, Error> {
    read_from(server, 0).await
}

async fn read_from(server: &Scripted, from: u64) -> Result<Vec<u8>, Error> {
    let mut body = registry(&server.host, None).read_blob(&repository(), &blob_of(LAYER), from).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn check(server: &Scripted) -> Result<(), Error> {
    registry(&server.host, None).check_blob(&repository(), &blob_of(LAYER)).await
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
async fn a_read_may_break_as_often_as_it_gets_somewhere() {
    let blob = b"0123456789a".repeat(60_000);
    let bytes = blob.clone();
    let server = Scripted::start(move |seen| {
        let from =
            seen.header("range").and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from: usize = from.unwrap_or(0);
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let status = if from == 0 { 200 } else { 206 };
        Reply::new(status)
            .header("Content-Range", range)
            .body(&bytes[from..])
            .cut(70_000.min(bytes.len() - from))
    })
    .await;
    let registry = registry(&server.host, None);
    tokio::time::pause();
    registry.check_blob(&repository(), &blob_of(&blob)).await.expect("the blob");
    assert_eq!(server.lines().len(), 10);
}

#[tokio::test]
async fn a_read_that_gets_a_byte_on_each_time_ends_as_unreachable() {
    tokio::time::pause();
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |_| {
        let from = asked.fetch_add(1, Ordering::SeqCst);
        let range = format!("bytes {from}-9/10");
        Reply::new(if from == 0 { 200 } else { 206 })
            .header("Content-Range", range)
            .body(&LAYER[from..])
            .cut(1)
    })
    .await;
    let error = read(&server).await.expect_err("broken");
    assert_eq!(error.failure(Side::Source).reason, Reason::SourceUnreachable, "{error:?}");
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn a_read_that_goes_on_under_another_etag_is_judged_by_its_bytes() {
    let server = breaking(|| {
        Reply::new(206).header("ETag", "another").header("Content-Range", "bytes 4-9/10").body(&LAYER[4..])
    })
    .await;
    assert_eq!(read(&server).await.expect("the blob"), LAYER);
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_not_taken() {
    // The server begins elsewhere whenever it is asked for a part, and keeps to the whole.
    let asked = AtomicUsize::new(0);
    let server =
        Scripted::start(move |seen| match (asked.fetch_add(1, Ordering::SeqCst), seen.header("range")) {
            (0, _) => Reply::new(200).body(LAYER).cut(4),
            (_, Some(_)) => Reply::new(206).header("Content-Range", "bytes 6-9/10").body(&LAYER[6..]),
            (_, None) => Reply::new(200).body(LAYER),
        })
        .await;
    assert_eq!(read(&server).await.expect("the blob"), LAYER);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_part_of_a_blob_of_another_size_is_corrupt() {
    let server = breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/11").body(&LAYER[4..])).await;
    let error = read(&server).await.expect_err("another size");
    assert!(matches!(error.cause, Cause::Mismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn a_part_shorter_than_asked_for_is_a_beginning() {
    let server = Scripted::start(|seen| match seen.header("range") {
        None => Reply::new(200).body(LAYER).cut(4),
        Some("bytes=4-") => Reply::new(206).header("Content-Range", "bytes 4-6/10").body(&LAYER[4..7]),
        Some(_) => Reply::new(206).header("Content-Range", "bytes 7-9/10").body(&LAYER[7..]),
    })
    .await;
    assert_eq!(read(&server).await.expect("the blob"), LAYER);
}

#[tokio::test]
async fn a_read_begins_where_it_is_asked_to_and_asks_for_nothing_at_the_end() {
    let server = Scripted::start(|seen| match seen.header("range") {
        Some("bytes=4-") => Reply::new(206).header("Content-Range", "bytes 4-9/10").body(&LAYER[4..]),
        _ => Reply::new(200).body(LAYER),
    })
    .await;
    assert_eq!(read_from(&server, 4).await.expect("the rest"), &LAYER[4..]);
    assert_eq!(read_from(&server, 10).await.expect("nothing"), b"");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_blob_that_drips_is_given_up_and_the_message_says_so() {
    let server = Scripted::start(|_| Reply::new(200).body(LAYER.repeat(1_000)).dripping()).await;
    let blob = blob_of(&LAYER.repeat(1_000));
    let registry = registry(&server.host, None);
    tokio::time::pause();
    let error = registry.check_blob(&repository(), &blob).await.expect_err("a byte a second");
    let failure = error.failure(Side::Source);
    assert_eq!(failure.reason, Reason::SourceUnreachable);
    assert!(failure.message.contains("too slow to wait for"), "{}", failure.message);
    assert_eq!(server.lines().len(), 2, "another connection may be a better one, once");
}

#[tokio::test]
async fn a_read_that_goes_on_with_other_bytes_is_corrupt() {
    let server = breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/10").body("xxxxxx")).await;
    let error = check(&server).await.expect_err("other bytes");
    assert_eq!(error.failure(Side::Source).reason, Reason::SourceCorrupt);
}

#[tokio::test]
async fn a_read_that_breaks_for_ever_ends_as_unreachable() {
    tokio::time::pause();
    let server =
        breaking(|| Reply::new(206).header("Content-Range", "bytes 4-9/10").body(&LAYER[4..]).cut(0)).await;
    let error = read(&server).await.expect_err("broken");
    assert_eq!(error.failure(Side::Source).reason, Reason::SourceUnreachable, "{error:?}");
    assert!(server.lines().len() < 10);
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
async fn a_length_that_is_wrong_once_is_no_corruption() {
    for (wrong, manifest) in [("9", false), ("11", false), ("9", true), ("11", true)] {
        let text = r#"{"manifests":[]}"#;
        let asked = AtomicUsize::new(0);
        let server = Scripted::start(move |_| {
            let whole = Reply::new(200).body(if manifest { text.as_bytes() } else { LAYER });
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => whole.header("Content-Length", wrong).cut(9),
                _ => whole,
            }
        })
        .await;
        let registry = registry(&server.host, None);
        match manifest {
            true => {
                let at = ManifestRef::Digest(digest_of(text.as_bytes()));
                let read = registry.manifest(&repository(), &at).await;
                // A body that ends too early is a broken connection, which the queue tries again.
                assert!(matches!(
                    (wrong, read),
                    ("9", Ok(_)) | ("11", Err(Error { cause: Cause::Broken(_), .. }))
                ));
            }
            false => assert_eq!(read(&server).await.expect("the blob"), LAYER),
        }
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
