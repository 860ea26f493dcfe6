//! Copies between real registries.

use std::sync::Arc;

use copy::{Copier, InFlight, Inventory as _, Memory, Progress};
use distribution::{Manifest, ManifestRef, Registry};
use domain::push::{Moved, Reason};
use domain::reference::{Digest, Repository};
use futures_util::future::join_all;

use crate::docker_registry::{DockerRegistry, LOGIN};
use crate::image::{Family, blob_of, image, index, layer, publish};
use crate::{copy, copy_with, destination_repository, registry, source_repository, tagged};

/// Two platforms that share one of three layers.
struct TwoPlatforms {
    blobs: Vec<Vec<u8>>,
    images: [Manifest; 2],
    index: Manifest,
}

impl TwoPlatforms {
    async fn publish(family: Family, source: &Registry) -> Self {
        let blobs = vec![
            b"{\"a\":1}".to_vec(),
            b"{\"b\":2}".to_vec(),
            layer(1, 300_000),
            layer(2, 70_000),
            layer(3, 5),
        ];
        let one = image(family, &blobs[0], &[blobs[2].clone(), blobs[3].clone()]);
        let other = image(family, &blobs[1], &[blobs[2].clone(), blobs[4].clone()]);
        let index = index(family, &[one.clone(), other.clone()]);
        let all: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        publish(source, &all, &[&one, &other, &index]).await;
        Self { blobs, images: [one, other], index }
    }

    fn blob_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.len() as u64).sum()
    }

    fn manifest_bytes(&self) -> u64 {
        self.images.iter().chain([&self.index]).map(|manifest| manifest.bytes.len() as u64).sum()
    }
}

async fn is_whole(image: &TwoPlatforms, destination: &Registry) {
    for manifest in image.images.iter().chain([&image.index]) {
        let at = ManifestRef::Digest(manifest.digest.clone());
        let there = destination.manifest(&destination_repository(), &at).await.expect("there");
        assert_eq!(there.bytes, manifest.bytes);
        assert_eq!(there.media_type, manifest.media_type);
    }
    for blob in &image.blobs {
        let there = destination.blob_bytes(&destination_repository(), &blob_of(blob).digest, 1 << 20).await;
        assert_eq!(there.expect("there"), blob);
    }
    assert_eq!(tagged(destination).await.as_ref(), Some(&image.index.digest));
}

#[tokio::test]
async fn an_index_of_two_platforms_arrives_byte_for_byte_in_either_family() {
    let (Some(from), Some(to)) = (DockerRegistry::locked(), DockerRegistry::locked()) else { return };
    let source = registry(&from.host, Some(LOGIN));
    for family in [Family::Oci, Family::Docker] {
        let image = TwoPlatforms::publish(family, &source).await;
        let destination = registry(&to.host, Some(LOGIN));
        let (gauge, at) = (InFlight::default(), destination_repository());
        let progress = Progress::new(gauge.clone());
        let moved =
            copy_with(&Copier::default(), &source, &image.index.digest, &destination, &at, &progress).await;
        let moved = moved.expect("copied");
        is_whole(&image, &destination).await;
        assert_eq!(moved.total(), image.blob_bytes() + image.manifest_bytes());
        assert_eq!((progress.bytes_done(), progress.bytes_total()), (moved.total(), moved.total()));
        assert_eq!(gauge.bytes(), 0);
        match family {
            Family::Oci => assert_eq!((moved.mounted, moved.present), (0, 0), "a shared layer moves once"),
            Family::Docker => assert_eq!(moved.present, image.blob_bytes(), "the blobs are there already"),
        }
    }
}

#[tokio::test]
async fn a_second_copy_moves_nothing_and_still_wants_the_right_login() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::locked()) else { return };
    let source = registry(&from.host, None);
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    let digest = &image.index.digest;
    copy(&source, digest, &registry(&to.host, Some(LOGIN))).await.expect("copied");
    drop(from);
    let again = copy(&source, digest, &registry(&to.host, Some(LOGIN))).await.expect("nothing to do");
    assert_eq!(again, Moved::default());
    let failure =
        copy(&source, digest, &registry(&to.host, Some(("ann", "hunter2")))).await.expect_err("refused");
    assert_eq!(failure.reason, Reason::CredentialsRefused);
    assert!(!failure.message.contains("hunter2"));
    let failure = copy(&source, digest, &registry(&to.host, None)).await.expect_err("refused");
    assert_eq!(failure.reason, Reason::CredentialsRefused);
}

#[tokio::test]
async fn a_tag_that_named_another_image_names_this_one_afterwards() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    for manifest in image.images.iter().chain([&image.index]) {
        copy(&source, &manifest.digest, &destination).await.expect("copied");
        assert_eq!(tagged(&destination).await.as_ref(), Some(&manifest.digest));
    }
}

#[tokio::test]
async fn what_lies_in_another_repository_of_the_host_is_mounted() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    let (copier, progress) = (Copier::default(), Progress::default());
    let (at, one) = (destination_repository(), &image.images[0].digest);
    copy_with(&copier, &source, one, &destination, &at, &progress).await.expect("copied");
    let (other, progress) = ("enterprise/other".parse().expect("a repository"), Progress::default());
    let moved = copy_with(&copier, &source, &image.index.digest, &destination, &other, &progress).await;
    let moved = moved.expect("copied");
    let shared: usize =
        [&image.blobs[0], &image.blobs[2], &image.blobs[3]].iter().map(|blob| blob.len()).sum();
    assert_eq!(moved.mounted, shared as u64);
    assert_eq!(moved.uploaded, image.blob_bytes() + image.manifest_bytes() - shared as u64);
    assert_eq!((progress.bytes_done(), progress.bytes_total()), (moved.total(), moved.total()));
}

#[tokio::test]
async fn of_copies_that_share_layers_each_layer_is_uploaded_by_one() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    let (copier, digest) = (Copier::default(), &image.index.digest);
    let copies = (0..8).map(async |number: usize| {
        let at = format!("enterprise/{}", number / 2).parse().expect("a repository");
        copy_with(&copier, &source, digest, &destination, &at, &Progress::default()).await.expect("copied")
    });
    let all = join_all(copies).await;
    let uploaded: u64 = all.iter().map(|moved| moved.uploaded).sum();
    assert_eq!(uploaded, image.blob_bytes() + 8 * image.manifest_bytes());
    assert!(all.iter().all(|moved| moved.total() == image.blob_bytes() + image.manifest_bytes()));
}

#[tokio::test]
async fn a_stale_inventory_costs_requests_and_heals() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    let (memory, at) = (Arc::new(Memory::default()), destination_repository());
    let gone: Repository = "enterprise/gone".parse().expect("a repository");
    let digests: Vec<Digest> = image.blobs.iter().map(|blob| blob_of(blob).digest).collect();
    for digest in &digests {
        memory.note(destination.host(), &gone, digest);
        memory.note(destination.host(), &at, digest);
    }
    let copier = Copier::new(memory.clone());
    let progress = Progress::default();
    let moved = copy_with(&copier, &source, &image.index.digest, &destination, &at, &progress).await;
    assert_eq!(moved.expect("copied").uploaded, image.blob_bytes() + image.manifest_bytes());
    is_whole(&image, &destination).await;
    let held = memory.held(destination.host(), &at, &digests).await;
    assert!(digests.iter().all(|digest| held[digest].here && held[digest].elsewhere.is_empty()), "{held:?}");
}

#[tokio::test]
async fn a_copy_inside_one_registry_uploads_no_blob() {
    let Some(server) = DockerRegistry::open() else { return };
    let (source, destination) = (registry(&server.host, None), registry(&server.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    let moved = copy(&source, &image.index.digest, &destination).await.expect("copied");
    assert_eq!((moved.mounted, moved.uploaded), (image.blob_bytes(), image.manifest_bytes()));
    is_whole(&image, &destination).await;
}

/// What a copy of a damaged image ends with, once it is certain that nothing was tagged.
async fn damaged(damage: impl Fn(&DockerRegistry, &TwoPlatforms)) -> Option<(Reason, String)> {
    let (from, to) = (DockerRegistry::open()?, DockerRegistry::open()?);
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    damage(&from, &image);
    let progress = Progress::default();
    let at = destination_repository();
    let failure =
        copy_with(&Copier::default(), &source, &image.index.digest, &destination, &at, &progress).await;
    let failure = failure.expect_err("damaged");
    assert_eq!(tagged(&destination).await, None);
    for manifest in &image.images {
        let at = ManifestRef::Digest(manifest.digest.clone());
        assert_eq!(destination.resolve(&destination_repository(), &at).await.expect("an answer"), None);
    }
    assert!(failure.message.contains(source.host()), "{}", failure.message);
    assert!(failure.message.contains(source_repository().as_str()), "{}", failure.message);
    Some((failure.reason, failure.message))
}

#[tokio::test]
async fn a_corrupt_blob_is_named_and_nothing_is_tagged() {
    let ended = damaged(|registry, image| {
        let mut rotten = image.blobs[2].clone();
        rotten[150_000] ^= 1;
        std::fs::write(registry.blob_file(&blob_of(&image.blobs[2]).digest), rotten).expect("written");
    });
    let Some((reason, message)) = ended.await else { return };
    assert_eq!(reason, Reason::SourceCorrupt, "{message}");
    assert!(message.contains(blob_of(&layer(1, 300_000)).digest.as_str()), "{message}");
}

#[tokio::test]
async fn a_blob_cut_short_on_disk_is_corrupt() {
    let ended = damaged(|registry, image| {
        let file =
            std::fs::File::options().write(true).open(registry.blob_file(&blob_of(&image.blobs[2]).digest));
        file.and_then(|file| file.set_len(299_999)).expect("cut");
    });
    let Some((reason, message)) = ended.await else { return };
    assert_eq!(reason, Reason::SourceCorrupt, "{message}");
}

#[tokio::test]
async fn a_corrupt_manifest_is_named_and_nothing_is_tagged() {
    let ended = damaged(|registry, image| {
        let rotten = [&image.images[1].bytes[..], b" "].concat();
        std::fs::write(registry.blob_file(&image.images[1].digest), rotten).expect("written");
    });
    let Some((reason, message)) = ended.await else { return };
    // The registry itself compares a manifest with its digest, and then fails.
    assert!(matches!(reason, Reason::SourceCorrupt | Reason::SourceUnreachable), "{reason}: {message}");
}

#[tokio::test]
async fn a_lost_blob_and_a_lost_platform_are_missing() {
    let lost = |digest: fn(&TwoPlatforms) -> Digest| {
        damaged(move |registry, image| {
            std::fs::remove_file(registry.blob_file(&digest(image))).expect("removed")
        })
    };
    let Some((reason, message)) = lost(|image| blob_of(&image.blobs[3]).digest).await else { return };
    assert_eq!(reason, Reason::SourceMissing, "{message}");
    let Some((reason, message)) = lost(|image| image.images[0].digest.clone()).await else { return };
    assert_eq!(reason, Reason::SourceMissing, "{message}");
}

#[tokio::test]
async fn a_destination_that_is_down_is_known_to_be_down_and_a_source_is_not() {
    let (Some(from), Some(to)) = (DockerRegistry::open(), DockerRegistry::open()) else { return };
    let (source, destination) = (registry(&from.host, None), registry(&to.host, None));
    let image = TwoPlatforms::publish(Family::Oci, &source).await;
    drop(from);
    let failure = copy(&source, &image.index.digest, &destination).await.expect_err("no source");
    assert_eq!((failure.reason, failure.registry_down), (Reason::SourceUnreachable, false));
    drop(to);
    let failure = copy(&source, &image.index.digest, &destination).await.expect_err("no destination");
    assert_eq!((failure.reason, failure.registry_down), (Reason::DestinationUnreachable, true));
    assert!(failure.message.contains(destination.host()), "{}", failure.message);
}

#[tokio::test]
async fn a_source_that_refuses_us_is_no_fault_of_the_push() {
    let (Some(from), Some(to)) = (DockerRegistry::locked(), DockerRegistry::open()) else { return };
    let image = TwoPlatforms::publish(Family::Oci, &registry(&from.host, Some(LOGIN))).await;
    for login in [None, Some(("ann", "hunter2"))] {
        let source = registry(&from.host, login);
        let failure =
            copy(&source, &image.index.digest, &registry(&to.host, None)).await.expect_err("refused");
        assert_eq!(failure.reason, Reason::SourceDenied);
        assert!(failure.message.contains("--registry-auth-file"), "{}", failure.message);
    }
}
