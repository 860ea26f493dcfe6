//! Claims about reading manifests.

use super::*;

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn read(text: String, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    let bytes = Bytes::from(text);
    let digest = sha256(&bytes);
    Manifest::new(bytes, digest, content_type)
}

fn descriptor(digest: &str, more: &str) -> String {
    format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":7{more}}}"#)
}

fn blob_of(digest: &str) -> Blob {
    Blob { digest: digest.parse().expect("legal"), size: 7 }
}

#[test]
fn an_image_names_its_config_and_layers() {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST_MEDIA_TYPE}","config":{},"layers":[{}]}}"#,
        descriptor(A, ""),
        descriptor(B, r#","urls":["http://x.example/"]"#)
    );
    let manifest = read(text.clone(), Some("text/plain")).expect("an image");
    assert_eq!(manifest.bytes, text);
    assert_eq!(manifest.media_type, IMAGE_MANIFEST_MEDIA_TYPE);
    assert_eq!(manifest.content, Content::Image { config: blob_of(A), layers: vec![blob_of(B)] });
}

#[test]
fn an_index_without_a_media_type_is_an_index_of_the_type_the_registry_told() {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(A, r#","platform":{}"#));
    for (told, media_type) in [
        (None, OCI_IMAGE_INDEX_MEDIA_TYPE),
        (Some(IMAGE_MANIFEST_LIST_MEDIA_TYPE), IMAGE_MANIFEST_LIST_MEDIA_TYPE),
        (Some(OCI_IMAGE_MEDIA_TYPE), OCI_IMAGE_INDEX_MEDIA_TYPE),
    ] {
        let manifest = read(text.clone(), told).expect("an index");
        assert_eq!(manifest.media_type, media_type);
        let Content::Index { manifests } = manifest.content else { panic!("an index") };
        assert_eq!(manifests.iter().map(|child| child.digest.as_str()).collect::<Vec<_>>(), [A]);
    }
}

#[test]
fn a_foreign_layer_is_not_ours_to_move_unless_it_has_no_urls() {
    let foreign =
        |more: &str| format!(r#"{{"mediaType":"{}","digest":"{B}","size":7{more}}}"#, FOREIGN_LAYERS[0]);
    let layers = |more: &str| {
        let text = format!(r#"{{"config":{},"layers":[{}]}}"#, descriptor(A, ""), foreign(more));
        match read(text, None).expect("an image").content {
            Content::Image { layers, .. } => layers,
            Content::Index { .. } => panic!("an image"),
        }
    };
    assert_eq!(layers(r#","urls":["http://169.254.169.254/"]"#), []);
    assert_eq!(layers(""), [blob_of(B)]);
}

#[test]
fn what_cannot_be_copied_is_told_apart() {
    let both = format!(r#"{{"config":{0},"layers":[],"manifests":[{0}]}}"#, descriptor(A, ""));
    assert!(matches!(read(both, None), Err(ManifestError::Ambiguous)));
    let old = r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned();
    assert!(matches!(read(old, None), Err(ManifestError::Unknown(_))));
    assert!(matches!(read("hello".into(), None), Err(ManifestError::Form(_))));
    let odd = format!(r#"{{"config":{0},"layers":[{0}]}}"#, descriptor("sha256:../../x", ""));
    assert!(matches!(read(odd, None), Err(ManifestError::Descriptor)));
    let lying = format!(
        r#"{{"mediaType":"{OCI_IMAGE_INDEX_MEDIA_TYPE}","config":{0},"layers":[]}}"#,
        descriptor(A, "")
    );
    assert!(matches!(read(lying, None), Err(ManifestError::Unknown(_))));
    let many = vec![descriptor(A, ""); NAMES_LIMIT + 1].join(",");
    assert!(matches!(read(format!(r#"{{"manifests":[{many}]}}"#), None), Err(ManifestError::TooMany)));
}

#[test]
fn both_registered_algorithms_are_computed() {
    let digest_of = |algorithm: &str, digits: usize| {
        let like = format!("{algorithm}:{}", "0".repeat(digits)).parse().expect("legal");
        let mut hasher = Hasher::like(&like);
        hasher.update(b"abc");
        hasher.finish()
    };
    assert_eq!(
        digest_of("sha256", 64),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert!(digest_of("sha512", 128).starts_with("sha512:ddaf35a193617abacc417349ae204131"));
}
