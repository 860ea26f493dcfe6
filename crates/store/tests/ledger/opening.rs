//! What opening makes, keeps and refuses.

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use store::feed::{Feed, FeedError};
use store::{NewRegistry, OpenError, Store};

use crate::{Yard, open, url};

#[tokio::test]
async fn database_and_key_are_made_for_their_owner_alone() {
    let yard = Yard::new().await;
    for file in ["drayage.db", "seal.key"] {
        let mode = yard.folder.path().join(file).metadata().expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_start_at_once_agree_on_one_database_and_one_key() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seal.key");
        let url = url(&folder);
        let (one, two, three) =
            tokio::join!(Store::open(&url, &path), Store::open(&url, &path), Store::open(&url, &path));
        for opened in [one, two, three] {
            opened.expect("opens").registries().await.expect("reads");
        }
    }
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_refused_with_the_database_untouched() {
    let yard = Yard::new().await;
    yard.registry("a.example/x", None).await;
    drop(yard.store);
    let (db, key) = (yard.folder.path().join("drayage.db"), yard.folder.path().join("seal.key"));
    let before = std::fs::read(&db).expect("there");
    std::fs::write(&key, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").expect("written");
    let refused = Store::open(&url(&yard.folder), &key).await.err().expect("refused");
    assert!(matches!(refused, OpenError::SealKey { .. }), "{refused:?}");
    std::fs::remove_file(&key).expect("removed");
    let refused = Store::open(&url(&yard.folder), &key).await.err().expect("refused");
    assert!(matches!(refused, OpenError::SealKeyLost { .. }), "{refused:?}");
    assert!(!key.exists(), "a key is never made for what another one sealed");
    assert_eq!(std::fs::read(&db).expect("there"), before);
}

#[tokio::test]
async fn a_newer_database_and_a_foreign_one_are_refused() {
    let yard = Yard::new().await;
    drop(yard.store);
    let path = yard.folder.path().join("drayage.db");
    Connection::open(&path).expect("opens").pragma_update(None, "user_version", 99).expect("set");
    let key = yard.folder.path().join("seal.key");
    let refused = Store::open(&url(&yard.folder), &key).await.err().expect("refused");
    assert!(matches!(refused, OpenError::Newer { found: 99, known: 5, .. }), "{refused:?}");
    assert!(refused.to_string().contains("schema 99") && refused.to_string().contains("up to 5"));
    let feed = Feed::open(&url(&yard.folder)).await.err().expect("refused");
    assert!(matches!(feed, FeedError::Newer { found: 99, known: 5 }), "{feed:?}");

    let foreign = tempfile::tempdir().expect("a folder");
    let db = Connection::open(foreign.path().join("drayage.db")).expect("opens");
    db.execute_batch("CREATE TABLE other (x)").expect("made");
    let refused = Store::open(&url(&foreign), &foreign.path().join("seal.key")).await.err().expect("refused");
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused:?}");
}

#[tokio::test]
async fn the_feed_waits_for_a_database_and_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Feed::open(&url(&folder)).await.err(), Some(FeedError::Missing(_))));
    std::fs::write(folder.path().join("drayage.db"), "").expect("written");
    assert!(matches!(Feed::open(&url(&folder)).await.err(), Some(FeedError::NotReady(_))));
    let _store = open(&folder).await;
    Feed::open(&url(&folder)).await.expect("ready");
}

#[tokio::test]
async fn nothing_is_written_into_a_file_that_was_moved_away() {
    let yard = Yard::new().await;
    let (path, aside) = (yard.folder.path().join("drayage.db"), yard.folder.path().join("aside.db"));
    std::fs::rename(&path, &aside).expect("moved");
    let new = || NewRegistry { address: "a.example/x".parse().expect("legal"), name: None, login: None };
    let refused = yard.store.create_registry(new()).await.expect_err("refused");
    assert!(refused.to_string().contains("removed or replaced"), "{refused}");
    yard.store.check().await.expect_err("told");
    std::fs::rename(&aside, &path).expect("back");
    yard.store.create_registry(new()).await.expect("as before");
}
