//! Claims about uploads that break where the registry can say how far it came, and where it cannot.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use distribution::{Cause, Registry, UploadError};
use domain::push::Reason;
use futures_util::future::ready;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;

use crate::scripted::{Reply, Seen};
use crate::storing::Storing;
use crate::{blob_of, failure, registry, repository, upload};

/// More than the sockets of both sides hold.
const SIZE: usize = 26 << 20;

fn blob() -> Vec<u8> {
    let mut bytes = b"0123456789a".repeat(SIZE / 11 + 1);
    bytes.truncate(SIZE);
    bytes
}

fn is_cut(seen: &Seen) -> bool {
    seen.body.len() < seen.length()
}

/// Uploads the blob; from which bytes it was read.
async fn reading(registry: &Registry, blob: &[u8]) -> (Vec<u64>, Result<(), UploadError<Infallible>>) {
    let read = Mutex::new(Vec::new());
    let pieces = |from: u64| {
        read.lock().expect("whole").push(from);
        let pieces = blob[from as usize..].chunks(1 << 16).map(Bytes::copy_from_slice).map(Ok);
        ready(Ok(stream::iter(pieces.collect::<Vec<_>>())))
    };
    let ended = registry.upload(&repository(), None, &blob_of(blob), pieces).await;
    (read.into_inner().expect("whole"), ended)
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_where_the_registry_stands_in_smaller_and_smaller_requests() {
    let server = Storing::start("/takes/10000000", |seen, _| is_cut(seen).then(Reply::hang_up)).await;
    let registry = registry(server.host(), None);
    let blob = blob();
    let (read, ended) = reading(&registry, &blob).await;
    ended.expect("taken");
    assert!(server.bytes() == blob);
    assert_eq!(read, [0, 10_000_000, 20_000_000]);
    assert_eq!(server.came(), SIZE, "no byte twice");
    // Broken once, with all of the rest; broken twice, in chunks.
    assert_eq!(server.methods(), "POST PUT GET PATCH GET PATCH PATCH PUT");
    let seen = server.server.seen();
    assert_eq!(seen[3].header("content-range"), Some(format!("10000000-{}", SIZE - 1).as_str()));
    // That may have been the line's fault and not the way's; the second time it is not.
    upload(&registry, &blob).await.expect("taken");
    upload(&registry, b"0123456789").await.expect("taken");
    assert!(server.methods().ends_with(" POST PATCH PUT"), "{}", server.methods());
}

#[tokio::test]
async fn a_gateway_that_loses_the_registry_and_a_registry_that_stalls_are_gone_on_with() {
    for answer in [Reply::new(504), Reply::silence()] {
        let (reached, gone_on) = (Arc::new(Notify::new()), AtomicUsize::new(0));
        let reaching = reached.clone();
        let server = Storing::start("/takes/20000000", move |seen, _| {
            reaching.notify_one();
            let first = is_cut(seen) && gone_on.fetch_add(1, Ordering::SeqCst) == 0;
            first.then(|| answer.clone())
        })
        .await;
        let registry = registry(server.host(), None);
        let blob = blob();
        let pausing = async {
            reached.notified().await;
            reached.notified().await;
            tokio::time::pause();
        };
        let ((read, ended), ()) = tokio::join!(reading(&registry, &blob), pausing);
        tokio::time::resume();
        ended.expect("taken");
        assert_eq!((read, server.came()), (vec![0, 20_000_000], SIZE));
    }
}

#[tokio::test]
async fn an_upload_of_which_nothing_was_kept_begins_anew() {
    let breaks = AtomicUsize::new(0);
    let server = Storing::start("/takes/10000000", move |seen, _| match seen.method.as_str() {
        "PUT" if is_cut(seen) => {
            breaks.fetch_add(1, Ordering::SeqCst);
            Some(Reply::hang_up())
        }
        // As docker-registry says of an upload that is empty, of one byte or of none.
        "GET" => Some(Reply::new(204).header("Range", "0-0")),
        "PATCH" => Some(Reply::new(202)),
        "PUT" => Some(Reply::new(201)),
        _ => None,
    })
    .await;
    let (read, ended) = reading(&registry(server.host(), None), &blob()).await;
    ended.expect("taken");
    assert_eq!(read, [0, 0]);
    assert_eq!(server.methods(), "POST PUT GET POST PATCH PUT");
}

#[tokio::test]
async fn a_line_that_breaks_without_end_ends_the_upload() {
    tokio::time::pause();
    let server = Storing::start("/takes/1000", |seen, _| match seen.method.as_str() {
        "GET" => Some(Reply::new(204).header("Range", "0-999")),
        _ => is_cut(seen).then(Reply::hang_up),
    })
    .await;
    let (read, ended) = reading(&registry(server.host(), None), &blob()).await;
    let Err(UploadError::Registry(error)) = ended else { panic!("{ended:?}") };
    assert!(matches!(error.cause, Cause::Broken(_)), "{error:?}");
    assert_eq!(failure(&error, "hunter2").reason, Reason::DestinationUnreachable);
    assert_eq!(read, [0, 1_000, 1_000, 1_000]);
}

#[tokio::test]
async fn a_gap_is_closed_once_and_told_the_second_time() {
    for gaps in [1, 2] {
        let refused = AtomicUsize::new(0);
        let server = Storing::start("/takes/10000000", move |seen, had| match seen.method.as_str() {
            "PATCH" if had >= 10_000_000 && refused.fetch_add(1, Ordering::SeqCst) < gaps => {
                Some(Reply::new(416))
            }
            _ => is_cut(seen).then(Reply::hang_up),
        })
        .await;
        let (_, ended) = reading(&registry(server.host(), None), &blob()).await;
        match ended {
            Ok(()) => assert_eq!((gaps, server.came() - SIZE), (1, 10_000_000), "{}", server.methods()),
            Err(UploadError::Registry(error)) => {
                assert_eq!((gaps, error.answer().map(|it| it.status.as_u16())), (2, Some(416)), "{error:?}");
            }
            Err(UploadError::Body(never)) => match never {},
        }
    }
}

#[tokio::test]
async fn a_registry_that_puts_other_bytes_together_gets_a_whole_upload_and_is_not_resumed_again() {
    // It says that it has more than it has kept.
    let refused = AtomicUsize::new(0);
    let server = Storing::start("/takes/10000000", move |seen, had| match seen.method.as_str() {
        "GET" => Some(Reply::new(204).header("Range", format!("0-{}", had + 4_999_999))),
        "PUT" if is_cut(seen) => Some(Reply::hang_up()),
        "PATCH" => Some(Reply::new(202)),
        "PUT" if refused.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#))
        }
        "PUT" => Some(Reply::new(201)),
        _ => None,
    })
    .await;
    let registry = registry(server.host(), None);
    let (read, ended) = reading(&registry, &blob()).await;
    ended.expect("taken");
    assert_eq!(read, [0, 15_000_000, 0]);
    let (read, ended) = reading(&registry, &blob()).await;
    ended.expect("taken");
    assert_eq!(read, [0, 0]);
}

#[tokio::test]
async fn a_blob_that_arrived_although_its_answer_was_lost_is_not_sent_again() {
    let arrived = AtomicUsize::new(0);
    let server = Storing::start("/up", move |seen, _| match seen.method.as_str() {
        "PUT" => {
            arrived.store(1, Ordering::SeqCst);
            Some(Reply::hang_up())
        }
        "HEAD" if arrived.load(Ordering::SeqCst) == 1 => Some(Reply::new(200).header("Content-Length", "10")),
        _ => None,
    })
    .await;
    upload(&registry(server.host(), None), b"0123456789").await.expect("there");
    assert_eq!(server.methods(), "POST PUT HEAD");
}

#[tokio::test]
async fn a_registry_that_has_gone_in_the_middle_of_an_upload_is_down() {
    let server = Storing::start("/takes/10000000", |seen, _| is_cut(seen).then(Reply::hang_up)).await;
    let registry = registry(server.host(), None);
    let (bytes, server) = (blob(), Mutex::new(Some(server)));
    let pieces = |from: u64| {
        let pieces =
            bytes[from as usize..].chunks(1 << 16).map(Bytes::copy_from_slice).map(Ok::<_, Infallible>);
        // The registry goes with the body that did not come through.
        let server = server.lock().expect("whole").take();
        ready(Ok(stream::iter(pieces.collect::<Vec<_>>()).inspect(move |_| _ = &server)))
    };
    let ended = registry.upload(&repository(), None, &blob_of(&bytes), pieces).await;
    let Err(UploadError::Registry(error)) = ended else { panic!("{ended:?}") };
    assert!(failure(&error, "hunter2").registry_down, "{error:?}");
}
