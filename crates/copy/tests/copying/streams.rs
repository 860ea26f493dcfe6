//! Claims about the bytes of blobs on their way: through what breaks, past what is slow, in every way in
//! which a destination takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use copy::{Copier, InFlight, Progress};
use distribution::{Blob, Manifest};
use domain::push::Reason;
use tokio::sync::Semaphore;

use crate::docker_registry::DockerRegistry;
use crate::gateway::{Gateway, Verdict};
use crate::image::{Family, blob_of, digest_of, image, image_of, index, layer, manifest, publish};
use crate::scripted::{Reply, Scripted, Seen};
use crate::{copy, copy_with, destination_repository, registry, tagged};

/// A source of manifests and blobs, unless `first` has another answer.
async fn holding(
    things: Vec<Vec<u8>>,
    first: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> Scripted {
    Scripted::start(move |seen| {
        let held = || things.iter().find(|bytes| seen.path.ends_with(digest_of(bytes).as_str()));
        first(seen).or_else(|| Some(Reply::new(200).body(held()?.clone()))).unwrap_or(Reply::new(404))
    })
    .await
}

fn bytes_of(manifest: &Manifest) -> Vec<u8> {
    manifest.bytes.to_vec()
}

#[tokio::test]
async fn a_destination_behind_any_gateway_gets_the_image_and_the_progress_is_right() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let source = registry(&from.host, None);
    let judges: [fn(&str, u64) -> Verdict; 3] = [
        |method, length| {
            if method == "PUT" && length > 1_000_000 { Verdict::Refuse(404) } else { Verdict::Pass }
        },
        |_, length| if length > 5 << 20 { Verdict::Refuse(413) } else { Verdict::Pass },
        |_, length| if length > 6 << 20 { Verdict::Cut(1 << 20) } else { Verdict::Pass },
    ];
    for (number, judge) in judges.into_iter().enumerate() {
        let layers = [layer(2 * number as u64, 9 << 20), layer(2 * number as u64 + 1, 7 << 20)];
        let config = format!("{{\"n\":{number}}}").into_bytes();
        let image = image(Family::Oci, &config, &layers);
        publish(&source, &[&config, &layers[0], &layers[1]], &[&image]).await;
        let gateway = Gateway::start(&to.host, judge).await;
        let destination = registry(&gateway.host, None);
        let (gauge, at) = (InFlight::default(), destination_repository());
        let progress = Progress::new(gauge.clone());
        let copier = Copier::default();
        let moved = copy_with(&copier, &source, &image.digest, &destination, &at, &progress).await;
        let moved = moved.expect("copied");
        assert_eq!(moved.uploaded, moved.total());
        assert_eq!((progress.bytes_done(), progress.bytes_total()), (moved.total(), moved.total()));
        assert_eq!(gauge.bytes(), 0);
        assert_eq!(tagged(&registry(&to.host, None)).await.as_ref(), Some(&image.digest), "gateway {number}");
    }
}

#[tokio::test]
async fn a_source_that_breaks_is_read_on_in_the_same_upload_and_no_byte_twice() {
    let (config, layer) = (b"{}".to_vec(), layer(1, 600_000));
    let image = image(Family::Oci, &config, std::slice::from_ref(&layer));
    let (sent, whole) = (Arc::new(AtomicUsize::new(0)), layer.clone());
    let counting = sent.clone();
    let source = holding(vec![bytes_of(&image), config, layer.clone()], move |seen| {
        if seen.method != "GET" || !seen.path.ends_with(digest_of(&whole).as_str()) {
            return None;
        }
        let from =
            seen.header("range").and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from = from.unwrap_or(0);
        let piece = 150_000.min(whole.len() - from);
        counting.fetch_add(piece, Ordering::SeqCst);
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        let status = if from == 0 { 200 } else { 206 };
        Some(Reply::new(status).header("Content-Range", range).body(&whole[from..]).cut(piece))
    })
    .await;
    let Some(to) = DockerRegistry::open() else { return };
    let destination = registry(&to.host, None);
    copy(&registry(&source.host, None), &image.digest, &destination).await.expect("copied");
    assert_eq!(sent.load(Ordering::SeqCst), layer.len());
    let there = destination.blob_bytes(&destination_repository(), &blob_of(&layer).digest, 1 << 20).await;
    assert!(there.expect("there") == layer);
}

#[tokio::test]
async fn a_source_whose_bytes_are_others_is_named_whichever_way_the_destination_takes_them() {
    let (config, right) = (b"{}".to_vec(), layer(1, 6 << 20));
    let image = image(Family::Oci, &config, std::slice::from_ref(&right));
    let mut wrong = right.clone();
    wrong[3 << 20] ^= 1;
    let name = digest_of(&right);
    let source = holding(vec![bytes_of(&image), config], move |seen| {
        seen.path.ends_with(name.as_str()).then(|| Reply::new(200).body(wrong.clone()))
    })
    .await;
    let Some(to) = DockerRegistry::open() else { return };
    for limit in [u64::MAX, 5 << 20] {
        let gateway = Gateway::start(&to.host, move |_, length| match length > limit {
            true => Verdict::Refuse(413),
            false => Verdict::Pass,
        })
        .await;
        let failure =
            copy(&registry(&source.host, None), &image.digest, &registry(&gateway.host, None)).await;
        let failure = failure.expect_err("wrong bytes");
        assert_eq!(failure.reason, Reason::SourceCorrupt, "{failure:?}");
        assert!(failure.message.contains(digest_of(&right).as_str()), "{}", failure.message);
        assert_eq!(tagged(&registry(&to.host, None)).await, None);
    }
}

#[tokio::test]
async fn a_mount_that_is_answered_anyhow_ends_in_an_upload() {
    for status in [202, 401, 404, 500] {
        let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
        let source = registry(&from.host, None);
        let config = b"{}".to_vec();
        let image = image(Family::Oci, &config, &[]);
        publish(&source, &[&config], &[&image]).await;
        // The first request of a blob is the mount; the POST of an upload comes after it.
        let asked = AtomicBool::new(false);
        let gateway = Gateway::start(&to.host, move |method, _| {
            match method == "POST" && status != 202 && !asked.swap(true, Ordering::SeqCst) {
                true => Verdict::Refuse(status),
                false => Verdict::Pass,
            }
        })
        .await;
        let moved = copy(&source, &image.digest, &registry(&gateway.host, None)).await;
        let moved = moved.expect("copied");
        assert_eq!((moved.mounted, moved.uploaded), (0, moved.total()), "{status}");
    }
}

#[tokio::test]
async fn an_index_in_an_index_arrives_from_the_leaves_up() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let (config, layer) = (b"{}".to_vec(), layer(1, 1_000));
    let leaf = image(Family::Oci, &config, std::slice::from_ref(&layer));
    let inner = index(Family::Oci, std::slice::from_ref(&leaf));
    let outer = index(Family::Oci, &[inner.clone(), leaf.clone()]);
    publish(&source, &[&config, &layer], &[&leaf, &inner, &outer]).await;
    copy(&source, &outer.digest, &destination).await.expect("copied");
    assert_eq!(tagged(&destination).await, Some(outer.digest));
}

#[tokio::test]
async fn a_foreign_layer_stays_where_it_is_and_in_the_manifest() {
    let (config, layer) = (b"{}".to_vec(), layer(1, 1_000));
    const NEVER: &str = ", \"mediaType\": \"application/vnd.oci.image.layer.nondistributable.v1.tar\", \
        \"urls\": [\"http://127.0.0.1:1/\"]";
    const PLAIN: &str = ", \"mediaType\": \"application/vnd.oci.image.layer.v1.tar\"";
    let image = image_of(&config, &[(blob_of(b"elsewhere"), NEVER), (blob_of(&layer), PLAIN)]);
    let source = holding(vec![bytes_of(&image), config, layer], |_| None).await;
    let server = Scripted::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up"),
        "PUT" => Reply::new(201),
        _ => Reply::new(404),
    })
    .await;
    copy(&registry(&source.host, None), &image.digest, &registry(&server.host, None)).await.expect("copied");
    let puts: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
    assert_eq!(puts.len(), 3, "the config, the layer, the manifest: {:?}", server.lines());
    assert_eq!(puts[2].body, image.bytes);
}

#[tokio::test]
async fn a_child_that_cannot_be_copied_ends_the_copy_with_nothing_written() {
    let schema_1 = br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec();
    let large = [&b"{\"manifests\":["[..], &b" ".repeat(4 << 20), b"]}"].concat();
    for (child, reason) in [(schema_1, Reason::Unsupported), (large, Reason::TooLarge)] {
        let Blob { digest, size } = blob_of(&child);
        let entry = format!("{{\"mediaType\": \"x/y\", \"digest\": \"{digest}\", \"size\": {size}}}");
        let top = manifest(format!("{{\"schemaVersion\": 2, \"manifests\": [{entry}]}}"));
        let source = holding(vec![bytes_of(&top), child], |_| None).await;
        let server = Scripted::start(|_| Reply::new(404)).await;
        let failure = copy(&registry(&source.host, None), &top.digest, &registry(&server.host, None)).await;
        assert_eq!(failure.expect_err("no image").reason, reason);
        assert!(server.seen().iter().all(|seen| seen.method == "HEAD"), "{:?}", server.lines());
    }
}

/// Layers that are announced and never come, and the image of them.
fn huge(seed: u64) -> (Vec<Blob>, Manifest) {
    let digest = |number: u64| digest_of(&(seed + number).to_le_bytes());
    let layers: Vec<Blob> = (0..20).map(|number| Blob { digest: digest(number), size: 40 << 30 }).collect();
    let described: Vec<_> = layers.iter().map(|layer| (layer.clone(), ", \"mediaType\": \"x/y\"")).collect();
    let image = image_of(b"{}", &described);
    (layers, image)
}

/// A source of images whose layers never come. Beginnings are counted for each image, and for all.
async fn streaming(
    images: [&(Vec<Blob>, Manifest); 2],
    things: Vec<Vec<u8>>,
) -> (Scripted, Arc<[Semaphore; 3]>) {
    let begun = Arc::new([0; 3].map(Semaphore::new));
    let (counting, layers) = (begun.clone(), images.map(|(layers, _)| layers.clone()));
    let manifests = images.into_iter().map(|(_, image)| bytes_of(image));
    let source = holding(manifests.chain(things).collect(), move |seen| {
        let is_asked = |layer: &&Blob| seen.path.ends_with(layer.digest.as_str());
        let found = layers
            .iter()
            .enumerate()
            .find_map(|(image, layers)| Some((image, layers.iter().find(is_asked)?)));
        let (image, layer) = found?;
        if seen.method == "GET" {
            counting[image].add_permits(1);
            counting[2].add_permits(1);
        }
        Some(Reply::new(200).header("Content-Length", layer.size.to_string()).body("beginning"))
    })
    .await;
    (source, begun)
}

#[tokio::test]
async fn a_small_push_goes_through_while_huge_layers_stream_to_the_same_registry() {
    let Some(to) = DockerRegistry::open() else { return };
    let (one, other) = (huge(0), huge(100));
    let (config, small_layer) = (b"{}".to_vec(), layer(1, 100_000));
    let small = image(Family::Oci, &config, std::slice::from_ref(&small_layer));
    let (source, begun) = streaming([&one, &other], vec![bytes_of(&small), config, small_layer]).await;
    let (source, destination) = (registry(&source.host, None), registry(&to.host, None));
    let copier = Copier::default();
    let copied = async |image: &Manifest, name: &str| {
        let (at, progress) = (name.parse().expect("a repository"), Progress::default());
        copy_with(&copier, &source, &image.digest, &destination, &at, &progress).await
    };
    let small_one = async {
        // All the places of large blobs are taken, and not all of them by one image.
        for (image, count) in [(0, 4), (1, 4), (2, 12)] {
            begun[image].acquire_many(count).await.expect("it stays open").forget();
        }
        copied(&small, destination_repository().as_str()).await
    };
    tokio::select! {
        ended = copied(&one.1, "enterprise/one") => panic!("{ended:?}"),
        ended = copied(&other.1, "enterprise/other") => panic!("{ended:?}"),
        moved = small_one => assert!(moved.expect("copied").uploaded > 100_000),
    }
}
