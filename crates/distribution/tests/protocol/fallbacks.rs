//! Claims about registries, and gateways in front of them, that do not take a blob in one PUT.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Registry, Transport};
use domain::push::Reason;

use crate::scripted::{Reply, Seen};
use crate::storing::Storing;
use crate::{failure, registry, upload};

const MIB: usize = 1 << 20;

fn is_put_with_a_body(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.length() > 0
}

fn bytes(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = [b"0123456789", &[seed][..]].concat().repeat(size / 11 + 1);
    bytes.truncate(size);
    bytes
}

#[tokio::test]
async fn a_registry_that_takes_no_put_gets_one_patch_and_the_next_blob_begins_with_it() {
    for status in [404, 405, 413, 501] {
        let server =
            Storing::start("/up", move |seen, _| is_put_with_a_body(seen).then(|| Reply::new(status))).await;
        let registry = registry(server.host(), None);
        upload(&registry, b"0123456789").await.expect("taken");
        let seen = server.server.seen();
        let (patch, put) = (&seen[seen.len() - 2], &seen[seen.len() - 1]);
        assert_eq!((patch.method.as_str(), patch.body.as_slice()), ("PATCH", &b"0123456789"[..]));
        assert_eq!(patch.header("content-range"), None, "it is the whole");
        assert_eq!((put.method.as_str(), put.header("content-length")), ("PUT", Some("0")));
        upload(&registry, b"abc").await.expect("taken");
        assert!(server.methods().ends_with(" PUT POST PATCH PUT"), "{}", server.methods());
        upload(&registry, b"").await.expect("taken");
        assert!(server.methods().ends_with(" POST PUT"), "{}", server.methods());
    }
}

#[tokio::test]
async fn a_gateway_with_a_limit_gets_chunks_and_the_next_blob_begins_with_them() {
    let server = Storing::start("/up", |seen, _| (seen.length() > 5 * MIB).then(|| Reply::new(413))).await;
    let registry = registry(server.host(), None);
    let blob = bytes(1, 12 * MIB + 3);
    upload(&registry, &blob).await.expect("taken");
    assert!(server.bytes() == blob);
    assert_eq!(server.methods(), "POST PUT POST PATCH POST PATCH PATCH PATCH PUT");
    let ranges: Vec<String> = server
        .server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-5242879", "5242880-10485759", "10485760-12582914"]);
    upload(&registry, b"abc").await.expect("taken");
    assert!(server.methods().ends_with(" POST PATCH PUT"), "{}", server.methods());
    assert_eq!(
        server.server.seen().iter().rev().nth(1).and_then(|it| it.header("content-range")),
        Some("0-2")
    );
}

#[tokio::test]
async fn a_chunk_is_as_long_as_the_registry_wants_it_at_least() {
    let server = Storing::start("/up", |seen, _| match seen.method.as_str() {
        "POST" => {
            Some(Reply::new(202).header("Location", "/up?state=0.").header("OCI-Chunk-Min-Length", "7340032"))
        }
        _ => (seen.length() > 8 * MIB).then(|| Reply::new(413)),
    })
    .await;
    let blob = bytes(2, 9 * MIB);
    upload(&registry(server.host(), None), &blob).await.expect("taken");
    let lengths: Vec<usize> = server
        .server
        .seen()
        .iter()
        .filter(|it| it.header("content-range").is_some())
        .map(Seen::length)
        .collect();
    assert_eq!(lengths, [7 * MIB, 2 * MIB]);
}

#[tokio::test]
async fn where_every_way_is_refused_the_first_refusal_is_told() {
    for (put, patch, reason) in [
        (413, 413, Reason::TooLarge),
        (413, 405, Reason::TooLarge),
        (413, 404, Reason::TooLarge),
        (404, 507, Reason::StorageFull),
        (404, 404, Reason::DestinationUnreachable),
    ] {
        let server = Storing::start("/up", move |seen, _| match seen.method.as_str() {
            "PUT" => Some(Reply::new(put)),
            "PATCH" => Some(Reply::new(patch)),
            _ => None,
        })
        .await;
        let registry = registry(server.host(), None);
        let error = upload(&registry, b"0123456789").await.expect_err("refused");
        assert_eq!(failure(&error, "hunter2").reason, reason, "{error:?}");
        // What did not help is not remembered.
        upload(&registry, b"0123456789").await.expect_err("refused");
        assert_eq!(server.methods().matches("PUT").count(), 2, "{}", server.methods());
    }
}

#[tokio::test]
async fn what_one_host_wants_is_asked_of_no_other() {
    let picky = Storing::start("/up", |seen, _| is_put_with_a_body(seen).then(|| Reply::new(404))).await;
    let plain = Storing::start("/up", |_, _| None).await;
    let transport = Transport::new(None).expect("a transport");
    let registry =
        |host: &str| Registry::new(&transport, format!("http://{host}").parse().expect("an address"), None);
    upload(&registry(picky.host()), b"0123456789").await.expect("taken");
    upload(&registry(plain.host()), b"0123456789").await.expect("taken");
    assert_eq!(plain.methods(), "POST PUT");
    // Another login at the same host does know it.
    upload(&registry(picky.host()), b"0123456789").await.expect("taken");
    assert!(picky.methods().ends_with(" POST PATCH PUT"), "{}", picky.methods());
}

#[tokio::test]
async fn a_put_that_breaks_is_an_accident_once_and_a_habit_the_second_time() {
    let server = Storing::start("/takes/9000000", |seen, had| match seen.method.as_str() {
        "PUT" if seen.length() > 9_000_000 => Some(Reply::hang_up()),
        // What came of it is lost.
        "GET" if had > 0 => Some(Reply::new(404)),
        "PATCH" => Some(Reply::new(202)),
        "PUT" => Some(Reply::new(201)),
        _ => None,
    })
    .await;
    let registry = registry(server.host(), None);
    let blob = bytes(3, 32 * MIB);
    for (number, expected) in ["POST PUT GET POST PATCH PUT", "POST PUT GET POST PATCH PUT", "POST PATCH PUT"]
        .into_iter()
        .enumerate()
    {
        let before = server.server.seen().len();
        upload(&registry, &blob).await.expect("taken");
        let seen = &server.server.seen()[before..];
        let methods = seen.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(methods, expected, "blob {number}");
    }
}

#[tokio::test]
async fn a_token_that_runs_out_between_chunks_costs_a_question_and_no_second_upload() {
    let (given, chunks) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let server = Storing::start("/up", move |seen, _| {
        if seen.line() == "GET /token" {
            let number = given.fetch_add(1, Ordering::SeqCst);
            return Some(Reply::new(200).body(format!("{{\"token\":\"{number}\"}}")));
        }
        let floor = usize::from(chunks.load(Ordering::SeqCst) >= 2);
        let number = seen.header("authorization").and_then(|it| it.strip_prefix("Bearer ")?.parse().ok());
        let bearer = format!("Bearer realm=\"http://{}/token\"", seen.header("host").expect("one"));
        match number {
            Some::<usize>(number) if number >= floor => {
                let large = seen.length() > 5 * MIB;
                chunks.fetch_add(usize::from(seen.method == "PATCH" && !large), Ordering::SeqCst);
                large.then(|| Reply::new(413))
            }
            _ => Some(Reply::new(401).header("WWW-Authenticate", bearer)),
        }
    })
    .await;
    let blob = bytes(4, 17 * MIB);
    upload(&registry(server.host(), None), &blob).await.expect("taken");
    assert!(server.bytes() == blob);
    // After two chunks a third is refused for its token; the registry tells how far it came.
    assert!(
        server.methods().ends_with("PATCH PATCH PATCH GET GET GET PATCH PATCH PUT"),
        "{}",
        server.methods()
    );
}
