//! Alone in its process, since it looks at the memory of all of it.

#[expect(dead_code, reason = "shared with the tests of distribution, which use all of it")]
#[path = "../../distribution/tests/protocol/docker_registry.rs"]
mod docker_registry;
#[expect(dead_code, reason = "shared with tests that cut connections too")]
#[path = "../../distribution/tests/protocol/gateway.rs"]
mod gateway;

use bytes::Bytes;
use copy::{Copier, Job, Progress};
use distribution::{Blob, Manifest, ManifestRef, Registry, Transport};
use docker_registry::DockerRegistry;
use domain::reference::{Digest, Repository};
use futures_util::future::ready;
use futures_util::{Stream, stream};
use gateway::{Gateway, Verdict};
use sha2::{Digest as _, Sha256};

const PIECE: usize = 64 * 1024;
const PIECES: u64 = 200 * 16;

fn pieces(count: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    (0..count).map(|number| Bytes::from(number.to_le_bytes().repeat(PIECE / 8)))
}

fn body(count: u64) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    stream::iter(pieces(count).map(Ok))
}

fn text_of(hasher: Sha256) -> Digest {
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

fn blob(count: u64) -> Blob {
    let mut hasher = Sha256::new();
    pieces(count).for_each(|piece| hasher.update(&piece));
    Blob { digest: text_of(hasher), size: count * PIECE as u64 }
}

fn registry(host: &str) -> Registry {
    let transport = Transport::new(None).expect("a transport");
    Registry::new(&transport, format!("http://{host}").parse().expect("an address"), None)
}

/// The largest resident set that the process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn memory_stays_flat_while_a_large_layer_passes_through_in_every_way() {
    let Some(from) = DockerRegistry::open() else { return };
    let source = registry(&from.host);
    let repository: Repository = "acme/large".parse().expect("a repository");
    let (config, layer) = (blob(1), blob(PIECES));
    for (blob, count) in [(&config, 1), (&layer, PIECES)] {
        source.upload(&repository, None, blob, |_| ready(Ok(body(count)))).await.expect("taken");
    }
    let descriptor = |blob: &Blob| {
        format!(
            r#"{{"mediaType":"application/octet-stream","digest":"{}","size":{}}}"#,
            blob.digest, blob.size
        )
    };
    let text = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        descriptor(&config),
        descriptor(&layer)
    );
    let mut hasher = Sha256::new();
    hasher.update(&text);
    let manifest = Manifest::new(text.into(), text_of(hasher), None).expect("an image");
    source
        .put_manifest(&repository, &ManifestRef::Digest(manifest.digest.clone()), &manifest)
        .await
        .expect("taken");

    let judges: [fn(&str, u64) -> Verdict; 3] = [
        |_, _| Verdict::Pass,
        |method, length| {
            if method == "PUT" && length > 10_000 { Verdict::Refuse(404) } else { Verdict::Pass }
        },
        |_, length| if length > 5 << 20 { Verdict::Refuse(413) } else { Verdict::Pass },
    ];
    let tag = "large".parse().expect("a tag");
    let before = peak();
    for judge in judges {
        let Some(to) = DockerRegistry::open() else { return };
        let gateway = Gateway::start(&to.host, judge).await;
        let destination = registry(&gateway.host);
        let job = Job {
            source: &source,
            source_repository: &repository,
            digest: &manifest.digest,
            destination: &destination,
            destination_repository: &repository,
            tag: &tag,
            is_damaged: false,
        };
        let moved =
            Copier::default().copy(&job, &Progress::default(), (), async || {}).await.expect("copied");
        assert_eq!(moved.uploaded, layer.size + config.size + manifest.bytes.len() as u64);
        let grown = peak() - before;
        assert!(grown < 20 * 1024, "{grown} KiB for a layer of 200 MiB");
    }
}
