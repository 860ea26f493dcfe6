//! Logins are unreadable on the disk and gone when they have served.

use domain::credentials::Credentials;
use domain::push::{Failure, Moved, Pullable, Reason};
use rusqlite::Connection;
use store::{Failed, Finished, PushRequest};

use crate::{POLICY, Yard};

const PASSWORD: &str = "hunter2-in-the-clear";

fn login(username: &str) -> Credentials {
    Credentials::new(username, PASSWORD)
}

fn sealed_logins(yard: &Yard) -> i64 {
    let db = Connection::open(yard.folder.path().join("drayage.db")).expect("opens");
    db.query_one("SELECT count(*) FROM push_credentials", [], |row| row.get(0)).expect("counts")
}

#[tokio::test]
async fn a_push_logs_in_with_its_own_login_and_reads_with_the_stored_one() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", Some(login("reader"))).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let push = PushRequest { registry, login: Some(login("pusher")) };
    let version = yard.build(&algorithm, 'a', "v1", Some(push)).await;
    let claim = yard.claim().await.expect("due");
    assert_eq!(claim.push_login, Some(login("pusher")));
    assert_eq!(claim.read_login, Some(login("reader")));
    let finished =
        yard.store.finish_push(&claim, Moved::default(), Pullable::Verified).await.expect("recorded");
    assert_eq!(finished, Finished::Succeeded);
    assert_eq!(sealed_logins(&yard), 0, "gone with the push");

    let asked = yard.store.request_push(algorithm.uuid, version.hash, None, None).await.expect("answers");
    assert_eq!(asked, Some(Ok(())));
    let claim = yard.claim().await.expect("due");
    assert_eq!(claim.push_login, Some(login("reader")), "the stored one serves where none was given");
}

#[tokio::test]
async fn a_final_failure_wipes_the_login_and_a_passing_one_keeps_it() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", None).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    let push = PushRequest { registry, login: Some(login("pusher")) };
    yard.build(&algorithm, 'a', "v1", Some(push)).await;
    let claim = yard.claim().await.expect("due");
    let passing = Failure::new(Reason::RateLimited, "429");
    let failed = yard.store.fail_push(&claim, passing, POLICY, 0.0).await.expect("recorded");
    assert!(matches!(failed, Failed::Again(_)), "{failed:?}");
    assert_eq!(sealed_logins(&yard), 1);
    yard.store.changed(std::time::Duration::ZERO).await.expect("answers");
    let claim = loop {
        if let Some(claim) = yard.claim().await {
            break claim;
        }
        tokio::task::yield_now().await;
    };
    let last = Failure::new(Reason::CredentialsRefused, "401");
    let failed = yard.store.fail_push(&claim, last, POLICY, 0.0).await.expect("recorded");
    assert_eq!(failed, Failed::Over);
    assert_eq!(sealed_logins(&yard), 0);
}

#[tokio::test]
async fn no_password_is_readable_in_any_file_of_the_database() {
    let yard = Yard::new().await;
    let registry = yard.registry("r.example/x", Some(login("reader"))).await;
    let algorithm = yard.algorithm("ann", "echo").await;
    yard.build(&algorithm, 'a', "v1", Some(PushRequest { registry, login: Some(login("pusher")) })).await;
    for file in std::fs::read_dir(yard.folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("readable");
        assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()));
    }
}
