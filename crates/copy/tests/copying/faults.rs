//! Copies from a real registry into a scripted one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use copy::{Copier, Inventory as _, Memory, Progress};
use distribution::{Content, Manifest, Registry};
use domain::push::Reason;

use crate::docker_registry::DockerRegistry;
use crate::image::{Family, blob_of, digest_of, image, index, layer, publish};
use crate::scripted::{Reply, Scripted, Seen};
use crate::{copy, copy_with, destination_repository, registry};

/// A destination that takes everything, unless `first` has another answer.
async fn taking(first: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Scripted {
    let taken = Mutex::new(HashMap::new());
    Scripted::start(move |seen| {
        if let Some(reply) = first(seen) {
            return reply;
        }
        let digest = || digest_of(&seen.body).as_str().to_owned();
        let name = || seen.path.rsplit('/').next().unwrap_or_default().to_owned();
        match seen.method.as_str() {
            "POST" => Reply::new(202).header("Location", "/session?state=1"),
            "PUT" => {
                taken.lock().expect("whole").insert(digest(), seen.body.len());
                Reply::new(201)
            }
            "HEAD" => match taken.lock().expect("whole").get(&name()) {
                Some(size) => Reply::new(200).header("Content-Length", size.to_string()),
                None => Reply::new(404),
            },
            _ => Reply::new(404),
        }
    })
    .await
}

async fn published(source: &Registry) -> [Manifest; 3] {
    let (config, big, small) = (b"{}".to_vec(), layer(1, 100_000), layer(2, 100));
    let one = image(Family::Oci, &config, &[small.clone(), big.clone()]);
    let other = image(Family::Oci, &config, std::slice::from_ref(&small));
    let index = index(Family::Oci, &[one.clone(), other.clone()]);
    publish(source, &[&config, &big, &small], &[&one, &other, &index]).await;
    [one, other, index]
}

/// A copier that believes a repository to hold the image's blobs.
fn knowing(host: &str, repository: &str, image: &Manifest) -> Copier {
    let memory = Memory::default();
    let Content::Image { config, layers } = &image.content else { panic!("an index") };
    for blob in layers.iter().chain([config]) {
        memory.note(host, &repository.parse().expect("a repository"), &blob.digest);
    }
    Copier::new(Arc::new(memory))
}

fn is_blob(seen: &Seen) -> bool {
    seen.path.starts_with("/session")
}

#[tokio::test]
async fn manifests_come_after_all_blobs_children_before_the_index_and_the_tag_last_and_once() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [one, other, index] = published(&source).await;
    let server = taking(|_| None).await;
    copy(&source, &index.digest, &registry(&server.host, None)).await.expect("copied");
    let puts: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
    assert!(puts[..3].iter().all(is_blob), "{puts:?}");
    let written: Vec<&[u8]> = puts[3..].iter().map(|seen| seen.body.as_slice()).collect();
    let mut children = written[..2].to_vec();
    children.sort_unstable();
    let mut expected = [&one.bytes[..], &other.bytes[..]];
    expected.sort_unstable();
    assert_eq!((children.as_slice(), written[2..].to_vec()), (expected.as_slice(), vec![&index.bytes[..]]));
    assert_eq!(puts[5].path, format!("/v2/{}/manifests/0123abcd", destination_repository()));
    assert_eq!(puts[5].header("content-type"), Some(index.media_type.as_str()));
}

#[tokio::test]
async fn a_token_that_runs_out_before_a_blob_costs_that_blob_a_second_upload() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    let tokens = AtomicUsize::new(0);
    let floor = AtomicUsize::new(0);
    let server = taking(move |seen| {
        if seen.path.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Some(Reply::new(200).body(format!("{{\"token\":\"{number}\"}}")));
        }
        let number =
            seen.header("authorization").and_then(|it| it.strip_prefix("Bearer ")?.parse::<usize>().ok());
        // The first token that comes with a blob is the last to be taken with one.
        if seen.method == "PUT" && is_blob(seen) && floor.load(Ordering::SeqCst) == 0 {
            floor.store(number.unwrap_or_default() + 1, Ordering::SeqCst);
        }
        let good = number.is_some_and(|number| number >= floor.load(Ordering::SeqCst));
        let bearer = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap_or_default());
        (!good).then(|| Reply::new(401).header("WWW-Authenticate", bearer))
    })
    .await;
    let progress = Progress::default();
    let (destination, at) = (registry(&server.host, None), destination_repository());
    let moved = copy_with(&Copier::default(), &source, &image.digest, &destination, &at, &progress)
        .await
        .expect("copied");
    assert_eq!(progress.bytes_done(), moved.total());
    assert_eq!(moved.total(), moved.uploaded);
}

#[tokio::test]
async fn an_immutable_tag_with_the_same_image_is_success_and_with_another_a_conflict() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    for (named, ends_well) in [(image.digest.clone(), true), (digest_of(b"another"), false)] {
        // Somebody else writes the tag between our first look and our write.
        let looks = AtomicUsize::new(0);
        let server = taking(move |seen| {
            let tag = seen.path.ends_with("/manifests/0123abcd");
            match seen.method.as_str() {
                "HEAD" if tag && looks.fetch_add(1, Ordering::SeqCst) > 0 => {
                    Some(Reply::new(200).header("Docker-Content-Digest", named.as_str()))
                }
                "PUT" if tag => Some(Reply::new(412).body("configured as immutable")),
                _ => None,
            }
        })
        .await;
        match copy(&source, &image.digest, &registry(&server.host, None)).await {
            Ok(_) => assert!(ends_well),
            Err(failure) => assert_eq!((failure.reason, ends_well), (Reason::Conflict, false), "{failure:?}"),
        }
    }
}

#[tokio::test]
async fn a_registry_that_forbids_to_look_for_an_absent_tag_is_written_to() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    let server =
        taking(|seen| (seen.method == "HEAD" && seen.path.contains("/manifests/")).then(|| Reply::new(403)))
            .await;
    copy(&source, &image.digest, &registry(&server.host, None)).await.expect("copied");
}

#[tokio::test]
async fn a_refused_blob_ends_the_copy_with_its_reason_and_no_manifest() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [.., index] = published(&source).await;
    for (status, reason) in [
        (403, Reason::Denied),
        (413, Reason::TooLarge),
        (429, Reason::RateLimited),
        (507, Reason::StorageFull),
        (500, Reason::DestinationUnreachable),
        (404, Reason::DestinationUnreachable),
    ] {
        let server = taking(move |seen| is_blob(seen).then(|| Reply::new(status))).await;
        let failure = copy(&source, &index.digest, &registry(&server.host, None)).await.expect_err("refused");
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(!server.lines().iter().any(|line| line.starts_with("PUT /v2/")), "{:?}", server.lines());
    }
}

#[tokio::test]
async fn a_mount_that_only_opens_an_upload_is_used_as_one() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    let server = taking(|_| None).await;
    let copier = knowing(&server.host, "enterprise/base", &image);
    let (destination, at, progress) =
        (registry(&server.host, None), destination_repository(), Progress::default());
    let moved =
        copy_with(&copier, &source, &image.digest, &destination, &at, &progress).await.expect("copied");
    assert_eq!(moved.mounted, 0);
    let posts = server.lines().into_iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 2, "one for each blob");
}

#[tokio::test]
async fn a_blob_that_the_sources_repository_does_not_hold_is_not_mounted() {
    let theirs = layer(9, 1_000);
    let stolen = image(Family::Oci, b"{}", std::slice::from_ref(&theirs));
    let bytes = stolen.bytes.clone();
    // A source that takes manifests without looking at what they name.
    let from = Scripted::start(move |seen| match seen.path.contains("/manifests/") {
        true => Reply::new(200).body(bytes.to_vec()),
        false => Reply::new(404),
    })
    .await;
    let server = taking(|seen| seen.path.contains("mount=").then(|| Reply::new(201))).await;
    let copier = knowing(&server.host, "enterprise/victim", &stolen);
    let (destination, at, progress) =
        (registry(&server.host, None), destination_repository(), Progress::default());
    let source = registry(&from.host, None);
    let failure = copy_with(&copier, &source, &stolen.digest, &destination, &at, &progress).await;
    assert_eq!(failure.expect_err("not held").reason, Reason::SourceMissing);
    assert!(!server.seen().iter().any(|seen| seen.path.contains("mount=")));
    assert!(from.lines().contains(&format!("HEAD /v2/algorithms/acme/x/blobs/{}", blob_of(&theirs).digest)));
}

#[tokio::test]
async fn indexes_that_go_on_for_ever_are_too_large() {
    // Each index names the next; none of them ends.
    let mut chain = vec![image(Family::Oci, b"{}", &[])];
    for _ in 0..6 {
        let below = chain.last().expect("one").clone();
        chain.push(index(Family::Oci, &[below]));
    }
    let top = chain.last().expect("one").digest.clone();
    let known = chain.clone();
    let from = Scripted::start(move |seen| {
        let found = known.iter().find(|manifest| seen.path.ends_with(manifest.digest.as_str()));
        found.map_or(Reply::new(404), |manifest| Reply::new(200).body(manifest.bytes.to_vec()))
    })
    .await;
    let server = taking(|_| None).await;
    let failure =
        copy(&registry(&from.host, None), &top, &registry(&server.host, None)).await.expect_err("deep");
    assert_eq!(failure.reason, Reason::TooLarge, "{failure:?}");
}

#[tokio::test]
async fn a_registry_that_misses_a_blob_for_a_moment_gets_the_manifest_again_and_no_blob() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    for (misses, ends_well) in [(2, true), (3, false)] {
        let asked = AtomicUsize::new(0);
        let server = taking(move |seen| {
            let missed =
                seen.method == "PUT" && !is_blob(seen) && asked.fetch_add(1, Ordering::SeqCst) < misses;
            missed.then(|| {
                Reply::new(400).body("{\"errors\":[{\"code\":\"DIGEST_INVALID\",\"message\":\"x\"}]}")
            })
        })
        .await;
        match copy(&source, &image.digest, &registry(&server.host, None)).await {
            Ok(moved) => assert_eq!((ends_well, moved.uploaded), (true, moved.total())),
            Err(failure) => {
                assert_eq!(
                    (ends_well, failure.reason),
                    (false, Reason::DestinationUnreachable),
                    "{failure:?}"
                );
            }
        }
        let blobs = server.seen().iter().filter(|seen| seen.method == "PUT" && is_blob(seen)).count();
        assert_eq!(blobs, 2, "each once");
    }
}

#[tokio::test]
async fn a_mount_that_was_promised_and_not_kept_is_made_good_by_an_upload() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host, None);
    let [_, image, _] = published(&source).await;
    let uploads = Arc::new(AtomicUsize::new(0));
    let arrived = uploads.clone();
    let server = taking(move |seen| match seen.method.as_str() {
        "POST" if seen.path.contains("mount=") => Some(Reply::new(201)),
        "PUT" if is_blob(seen) => {
            arrived.fetch_add(1, Ordering::SeqCst);
            None
        }
        "PUT" if arrived.load(Ordering::SeqCst) < 2 => Some(
            Reply::new(400).body("{\"errors\":[{\"code\":\"MANIFEST_BLOB_UNKNOWN\",\"message\":\"x\"}]}"),
        ),
        _ => None,
    })
    .await;
    let (destination, at, progress) =
        (registry(&server.host, None), destination_repository(), Progress::default());
    let copier = knowing(&server.host, "enterprise/base", &image);
    let moved = copy_with(&copier, &source, &image.digest, &destination, &at, &progress).await;
    let moved = moved.expect("copied");
    assert_eq!((moved.uploaded, moved.mounted), (moved.total(), 0));
    assert_eq!((progress.bytes_done(), uploads.load(Ordering::SeqCst)), (moved.total(), 2));
}
