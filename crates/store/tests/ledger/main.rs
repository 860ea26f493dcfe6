//! The ledger on a real file, through both doors, often with two processes' worth of stores on it.

mod claims;
mod credentials;
mod feed;
mod holds;
mod inventory;
mod opening;
mod pods;
mod pushes;
mod registries;
mod versions;

use std::time::Duration;

use domain::Timestamp;
use domain::credentials::Credentials;
use domain::push::RetryPolicy;
use domain::registry::RegistryId;
use serde_json::json;
use store::{
    Algorithm, BuiltImage, Claim, DatabaseUrl, NewBuild, NewRegistry, PushRecord, PushRequest, Store,
    Version, Worker,
};

const LEASE: Duration = Duration::from_secs(30);
const POLICY: RetryPolicy = RetryPolicy { max_tries: 3, give_up_after: Duration::from_secs(900) };

/// A database in a folder of its own.
struct Yard {
    folder: tempfile::TempDir,
    store: Store,
}

impl Yard {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder).await;
        Self { folder, store }
    }

    fn url(&self) -> DatabaseUrl {
        url(&self.folder)
    }

    /// What another process would see.
    async fn again(&self) -> Store {
        open(&self.folder).await
    }

    async fn registry(&self, address: &str, login: Option<Credentials>) -> RegistryId {
        let new = NewRegistry { address: address.parse().expect("legal"), name: None, login };
        self.store.create_registry(new).await.expect("registered").id
    }

    async fn algorithm(&self, owner: &str, name: &str) -> Algorithm {
        let (owner, name) = (owner.parse().expect("legal"), name.parse().expect("legal"));
        self.store.create_algorithm(owner, name, json!({})).await.expect("made")
    }

    /// Records a build of an image whose digest is made of one hex digit.
    async fn build(
        &self,
        algorithm: &Algorithm,
        digit: char,
        hash: &str,
        push: Option<PushRequest>,
    ) -> Version {
        let new = build_of(algorithm, digit, hash, push);
        self.store.record_build(new).await.expect("recorded").version.expect("yields a version")
    }

    async fn claim(&self) -> Option<Claim> {
        claim(&self.store, &worker("test")).await
    }

    async fn claims(&self, at_most: usize) -> Vec<Claim> {
        self.store.claim_pushes(&worker("test"), at_most).await.expect("the database answers")
    }

    /// The newest push of a version.
    async fn record(&self, algorithm: &Algorithm, hash: &str) -> PushRecord {
        let records = self.store.push_records(algorithm.uuid, hash.parse().expect("legal")).await;
        records.expect("the database answers").swap_remove(0)
    }

    /// Asks for a push again, as a person does.
    async fn ask_again(&self, algorithm: &Algorithm, hash: &str) {
        let hash = hash.parse().expect("legal");
        let asked = self.store.request_push(algorithm.uuid, hash, None, None).await;
        assert_eq!(asked.expect("the database answers"), Some(Ok(())));
    }
}

fn worker(name: &str) -> Worker {
    Worker { name: name.to_owned(), lease: LEASE, at_a_registry: 64 }
}

async fn claim(store: &Store, worker: &Worker) -> Option<Claim> {
    store.claim_pushes(worker, 1).await.expect("the database answers").pop()
}

fn build_of(algorithm: &Algorithm, digit: char, hash: &str, push: Option<PushRequest>) -> NewBuild {
    let repository =
        format!("algorithms/{}/{}", algorithm.owner.to_lowercase(), algorithm.name.to_lowercase());
    NewBuild {
        algorithm: algorithm.uuid,
        commit: None,
        image: Some(BuiltImage {
            source: "http://source.example:5000".parse().expect("legal"),
            repository: repository.parse().expect("legal"),
            tag: "latest".parse().expect("legal"),
            digest: digest(digit).parse().expect("legal"),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            hash: hash.parse().expect("legal"),
        }),
        log: "found".to_owned(),
        started_at: Timestamp::now(),
        push,
    }
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn to(registry: RegistryId) -> Option<PushRequest> {
    Some(PushRequest { registry, login: None })
}

fn url(folder: &tempfile::TempDir) -> DatabaseUrl {
    format!("sqlite:{}", folder.path().join("drayage.db").display()).parse().expect("a URL")
}

async fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&url(folder), &folder.path().join("seal.key")).await.expect("opens")
}
