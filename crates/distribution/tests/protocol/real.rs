//! What a real docker-registry shows.

use std::convert::Infallible;

use bytes::Bytes;
use distribution::{Cause, Content, Manifest, ManifestRef, Mounted, Presence};
use domain::push::Reason;
use futures_util::future::ready;
use futures_util::stream;

use crate::docker_registry::{DockerRegistry, LOGIN};
use crate::gateway::{Gateway, Verdict};
use crate::{blob_of, digest_of, failure, registry, repository, tag, upload, upload_as};

fn image(config: &[u8], layer: &[u8]) -> Manifest {
    let (config, layer) = (blob_of(config), blob_of(layer));
    // Odd white space, so that nothing but the raw bytes has this digest.
    let text = format!(
        "{{ \"schemaVersion\": 2,\n\n \"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\", \
         \"config\": {{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"{}\",\"size\":{}}}, \
         \"layers\": [{{\"size\":{},\"digest\":\"{}\",\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\"}}]}}",
        config.digest, config.size, layer.size, layer.digest
    );
    let digest = digest_of(text.as_bytes());
    Manifest::new(text.into(), digest, None).expect("an image")
}

#[tokio::test]
async fn what_was_written_is_read_back_byte_for_byte() {
    let Some(server) = DockerRegistry::locked() else { return };
    let registry = registry(&server.host, Some(LOGIN));
    let (config, layer) = (b"{}".as_slice(), vec![7; 100_000]);
    let manifest = image(config, &layer);
    assert_eq!(registry.resolve(&repository(), &tag("v1")).await.expect("an answer"), None);
    assert_eq!(
        registry.find_blob(&repository(), &blob_of(&layer)).await.expect("an answer"),
        Presence::Absent
    );
    upload(&registry, config).await.expect("taken");
    upload(&registry, &layer).await.expect("taken");
    registry.put_manifest(&repository(), &tag("v1"), &manifest).await.expect("taken");

    assert_eq!(
        registry.find_blob(&repository(), &blob_of(&layer)).await.expect("an answer"),
        Presence::Whole
    );
    assert_eq!(registry.blob_bytes(&repository(), &digest_of(config), 10).await.expect("bytes"), config);
    let found = registry.resolve(&repository(), &tag("v1")).await.expect("an answer").expect("there");
    assert_eq!((found.digest, found.size), (manifest.digest.clone(), manifest.bytes.len() as u64));
    for at in [tag("v1"), ManifestRef::Digest(manifest.digest.clone())] {
        let read = registry.manifest(&repository(), &at).await.expect("a manifest");
        assert_eq!(
            (read.bytes, read.media_type, read.digest),
            (manifest.bytes.clone(), manifest.media_type.clone(), manifest.digest.clone())
        );
        assert!(matches!(read.content, Content::Image { .. }));
    }
    let large = registry.blob_bytes(&repository(), &digest_of(&layer), 99_999).await.expect_err("too large");
    assert!(matches!(large.cause, Cause::TooLarge { limit: 99_999 }));
}

#[tokio::test]
async fn a_wrong_login_is_refused_and_no_login_is_asked_for() {
    let Some(server) = DockerRegistry::locked() else { return };
    let wrong = registry(&server.host, Some(("ann", "hunter2")));
    let error = wrong.resolve(&repository(), &tag("v1")).await.expect_err("a wrong password");
    assert_eq!(failure(&error, "hunter2").reason, Reason::CredentialsRefused);
    let error = wrong.prove_login().await.expect_err("a wrong password");
    assert!(matches!(error.cause, Cause::LoginRefused(_)));
    let none = registry(&server.host, None);
    let error = upload(&none, b"layer").await.expect_err("no login");
    assert!(matches!(error.cause, Cause::LoginMissing));
    let good = registry(&server.host, Some(LOGIN));
    good.prove_login().await.expect("the right password");
}

#[tokio::test]
async fn a_registry_that_asks_for_no_login_takes_any() {
    let Some(server) = DockerRegistry::open() else { return };
    registry(&server.host, Some(("ann", "hunter2"))).prove_login().await.expect("nobody asks");
}

#[tokio::test]
async fn a_blob_is_mounted_where_it_lies_and_an_upload_is_offered_where_not() {
    let Some(server) = DockerRegistry::open() else { return };
    let registry = registry(&server.host, None);
    let other = "acme/other".parse().expect("a repository");
    upload(&registry, b"layer").await.expect("taken");
    let mounted = registry.mount(&other, &repository(), &digest_of(b"layer")).await.expect("an answer");
    assert!(matches!(mounted, Mounted::Yes), "{mounted:?}");
    assert_eq!(registry.find_blob(&other, &blob_of(b"layer")).await.expect("an answer"), Presence::Whole);
    let absent = registry.mount(&other, &repository(), &digest_of(b"absent")).await.expect("an answer");
    let Mounted::Upload(session) = absent else { panic!("{absent:?}") };
    let read = |_| ready(Ok(stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"absent"))])));
    registry.upload(&other, Some(session), &blob_of(b"absent"), read).await.expect("taken");
}

#[tokio::test]
async fn a_blob_with_other_bytes_than_its_digest_is_refused_by_the_registry() {
    let Some(server) = DockerRegistry::open() else { return };
    let registry = registry(&server.host, None);
    let error = upload_as(&registry, &blob_of(b"right"), b"wrong").await.expect_err("refused");
    assert!(error.to_string().contains("uploading a blob to acme/algorithms/x"), "{error}");
    assert_eq!(failure(&error, "hunter2").reason, Reason::DestinationUnreachable);
    assert_eq!(
        registry.find_blob(&repository(), &blob_of(b"right")).await.expect("an answer"),
        Presence::Absent
    );
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let Some(server) = DockerRegistry::open() else { return };
    let registry = registry(&server.host, None);
    upload(&registry, b"").await.expect("taken");
    let mut body = registry.read_blob(&repository(), &blob_of(b""), 0).await.expect("a body");
    assert_eq!(body.next().await.expect("the end"), None);
}

#[tokio::test]
async fn an_empty_port_is_a_registry_that_is_down() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let error = registry(&host, None).resolve(&repository(), &tag("v1")).await.expect_err("nobody there");
    let failure = failure(&error, "hunter2");
    assert_eq!((failure.reason, failure.registry_down), (Reason::DestinationUnreachable, true));
    assert!(failure.message.contains(&host) && failure.message.contains("refused"), "{}", failure.message);
    let source = error.failure(distribution::Side::Source);
    assert_eq!((source.reason, source.registry_down), (Reason::SourceUnreachable, false));
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_no_certificate_and_not_down() {
    let Some(server) = DockerRegistry::open() else { return };
    let https = registry(&format!("https://{}", server.host), None);
    let error = https.resolve(&repository(), &tag("v1")).await.expect_err("no TLS");
    let failure = failure(&error, "hunter2");
    assert_eq!(
        (failure.reason, failure.registry_down),
        (Reason::DestinationUnreachable, false),
        "{failure:?}"
    );
    assert!(failure.message.contains("http://"), "{failure:?}");
}

#[tokio::test]
async fn a_blob_that_rots_in_the_registry_is_noticed() {
    let Some(server) = DockerRegistry::open() else { return };
    let registry = registry(&server.host, None);
    upload(&registry, b"layer").await.expect("taken");
    std::fs::write(server.blob_file(&digest_of(b"layer")), b"lay3r").expect("written");
    let error = registry.blob_bytes(&repository(), &digest_of(b"layer"), 10).await.expect_err("rotten");
    assert!(matches!(error.cause, Cause::Mismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn a_blob_arrives_through_any_gateway() {
    let Some(server) = DockerRegistry::open() else { return };
    let judges: [fn(&str, u64) -> Verdict; 3] = [
        |method, length| if method == "PUT" && length > 0 { Verdict::Refuse(404) } else { Verdict::Pass },
        |_, length| if length > 5 << 20 { Verdict::Refuse(413) } else { Verdict::Pass },
        |_, length| if length > 7 << 20 { Verdict::Cut(6 << 20) } else { Verdict::Pass },
    ];
    for (number, judge) in judges.into_iter().enumerate() {
        let gateway = Gateway::start(&server.host, judge).await;
        let registry = registry(&gateway.host, None);
        let layer = [&[number as u8][..], &b"0123456789a".repeat(3 << 20)].concat();
        for layer in [&layer[..], &layer[..100]] {
            upload(&registry, layer).await.expect("taken");
            let there = registry.blob_bytes(&repository(), &digest_of(layer), 64 << 20).await;
            assert!(there.expect("there") == layer, "gateway {number}");
        }
    }
}
