//! The parser against its own claims and against oci-spec's as an oracle.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parts(text: &str) -> (String, String, Option<&str>, Option<&str>) {
    let parsed = Reference::parse(text).expect(text);
    (parsed.host().to_owned(), parsed.repository().to_owned(), parsed.tag(), parsed.digest())
}

#[test]
fn every_spelling_of_one_image_is_equal() {
    let hub = parts("docker.io/library/redis:7");
    for text in ["redis:7", "docker.io/redis:7", "index.docker.io/library/redis:7", "Docker.IO/redis:7"] {
        assert_eq!(parts(text), hub, "{text}");
    }
}

#[test]
fn a_port_is_no_tag() {
    assert_eq!(parts("localhost:5000/x").0, "localhost:5000");
    assert_eq!(parts("localhost:5000/x").2, None);
    assert_eq!(parts("[::1]:5000/x:y"), ("[::1]:5000".into(), "x".into(), Some("y"), None));
    assert_eq!(parts("LOCALHOST/x").0, "localhost");
}

#[test]
fn one_address_has_one_spelling() {
    for text in ["[::1]:5000/x", "[0:0:0:0:0:0:0:1]:5000/x", "[::1]:05000/x", "[::0:1]:5000/x"] {
        assert_eq!(parts(text).0, "[::1]:5000", "{text}");
    }
    assert_eq!(parts("h.example:0443/x").0, "h.example:443");
    assert_eq!(parts("h.example:5000/x").0, "h.example:5000");
}

#[test]
fn tag_and_digest_are_both_kept() {
    let text = format!("10.0.0.12:5000/a/b:v1@sha256:{HEX}");
    let parsed = Reference::parse(&text).expect("legal");
    assert_eq!((parsed.tag(), parsed.digest()), (Some("v1"), Some(&text[text.len() - 71..])));
}

#[test]
fn what_no_engine_would_pull_is_refused() {
    let cases: &[&str] = &[
        "",
        "/",
        "a//b",
        "UPPER",
        "host.example/Upper",
        "a b",
        "a:",
        "a@",
        "a@sha256:12",
        ":x",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a._b",
        "[::1/x",
        "[zz]/x",
        "host:0/x",
        "host:99999/x",
        "host:/x",
        "a:b:c",
        "http://host.example/x",
        "a\u{0}",
        "é",
        HEX,
    ];
    for text in cases {
        assert!(Reference::parse(text).is_err(), "{text:?}");
    }
    assert!(Reference::parse(&format!("host.example/{}", "a".repeat(243))).is_err());
    assert!(Reference::parse(&format!("host.example/{}", "a".repeat(242))).is_ok());
}

#[test]
fn a_host_that_a_reference_cannot_name_is_refused() {
    assert!("registry".parse::<Host>().is_err());
    assert_eq!("Registry:5000".parse::<Host>().expect("legal").as_str(), "registry:5000");
    assert_eq!("[::1]".parse::<Host>().expect("legal").port(), None);
    assert_eq!("[::1]:80".parse::<Host>().expect("legal").port(), Some(80));
}

/// oci-spec refuses IPv6 hosts and hosts in upper case; everywhere else the two must agree.
#[test]
fn the_parser_agrees_with_oci_spec() {
    let hosts =
        ["", "docker.io/", "index.docker.io/", "a.example/", "a.example:5000/", "localhost/", "10.0.0.1:5/"];
    let paths =
        ["redis", "library/redis", "a/b/c", "a__b", "a--b/c.d", "a_b", "a___b", "a-", "A", "a//b", ""];
    let tags = ["", ":latest", ":V1.0-x_y", ":-x", ":", ":.x"];
    let digest = format!("@sha256:{HEX}");
    for host in hosts {
        for path in paths {
            for tag in tags {
                for digest in ["", &digest, "@sha256:00"] {
                    let text = format!("{host}{path}{tag}{digest}");
                    let ours = Reference::parse(&text);
                    let theirs = text.parse::<oci_spec::distribution::Reference>();
                    assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?} {theirs:?}");
                    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                        assert_eq!(ours.host(), theirs.registry(), "{text}");
                        assert_eq!(ours.repository(), theirs.repository(), "{text}");
                        assert_eq!(ours.digest(), theirs.digest(), "{text}");
                    }
                }
            }
        }
    }
}
