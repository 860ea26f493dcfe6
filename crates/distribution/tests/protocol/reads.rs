//! Claims about reading blobs: what breaks, drips, lies or goes on elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Cause, Error, Side};
use domain::push::Reason;

use crate::scripted::{Reply, Scripted};
use crate::{blob_of, registry, repository, tag};

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
