//! Keeps a server's certificate equal to two files whose bytes may change: Kubernetes swaps the
//! symlink above a mounted Secret, which a watch on the file misses, so the bytes are compared.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::Shutdown;
use crate::admin::Condition;
use crate::tls::{Certificate, ChainPath, KeyPath, PairError};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The two files of a server's TLS pair.
#[derive(Debug, Clone)]
pub struct PairFiles {
    /// The certificate chain.
    pub chain: ChainPath,
    /// Its private key.
    pub key: KeyPath,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}", with_cause(.0))]
    Pair(#[from] PairError),
}

/// Takes the pair up when it appears and whenever its bytes change, until the shutdown.
///
/// `condition` is unready while there is no pair to serve with; a later bad pair is a note,
/// since the former one goes on serving.
pub async fn follow(files: PairFiles, certificate: Certificate, condition: Condition, shutdown: Shutdown) {
    let mut follower = Follower { files, certificate, condition, seen: None, told: None };
    loop {
        follower.look().await;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.begun() => return,
        }
    }
}

struct Follower {
    files: PairFiles,
    certificate: Certificate,
    condition: Condition,
    /// The bytes last judged, good or bad, so that each pair is judged and told once.
    seen: Option<(Vec<u8>, Vec<u8>)>,
    told: Option<String>,
}

impl Follower {
    async fn look(&mut self) {
        match self.take_up().await {
            Ok(false) => {}
            Ok(true) => {
                info!(chain = %self.files.chain.as_ref().display(), "took up a certificate");
                self.condition.ready();
                self.told = None;
            }
            Err(error) => self.tell(error.to_string()),
        }
    }

    /// Whether a new pair has been taken up.
    async fn take_up(&mut self) -> Result<bool, LookError> {
        // Taken out first, so that a pair that went away is judged anew when it is back.
        let seen = self.seen.take();
        let pair = (read(self.files.chain.as_ref()).await?, read(self.files.key.as_ref()).await?);
        if seen.as_ref() == Some(&pair) {
            self.seen = seen;
            return Ok(false);
        }
        let (chain, key) = self.seen.insert(pair);
        self.certificate.replace(chain, key)?;
        Ok(true)
    }

    fn tell(&mut self, error: String) {
        if self.certificate.is_present() {
            self.condition.ready_with(format!("the former pair stays: {error}"));
        } else {
            self.condition.unready(format!("waiting for a TLS pair: {error}"));
        }
        if self.told.as_ref() != Some(&error) {
            warn!("the TLS pair is not taken up: {error}");
            self.told = Some(error);
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, LookError> {
    tokio::fs::read(path).await.map_err(|source| LookError::Read { path: path.to_owned(), source })
}

fn with_cause(error: &PairError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::admin::Health;

    fn write(files: &PairFiles, chain: &str, key: &str) {
        fs::write(&files.chain, chain).unwrap();
        fs::write(&files.key, key).unwrap();
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[tokio::test]
    async fn a_pair_is_awaited_taken_up_and_kept_when_a_bad_one_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let files =
            PairFiles { chain: path("tls.crt").parse().unwrap(), key: path("tls.key").parse().unwrap() };
        let health = Health::default();
        let certificate = Certificate::default();
        let mut follower = Follower {
            files: files.clone(),
            certificate: certificate.clone(),
            condition: health.condition("certificate"),
            seen: None,
            told: None,
        };

        follower.look().await;
        assert!(!certificate.is_present());
        assert!(health.readiness().unwrap_err().contains("waiting for a TLS pair"));

        let (chain, key) = pair();
        write(&files, &chain, &key);
        follower.look().await;
        assert!(certificate.is_present());
        assert_eq!(health.readiness().unwrap(), "ok");

        let (other, _) = pair();
        write(&files, &other, &key);
        follower.look().await;
        assert!(health.readiness().unwrap().contains("the former pair stays"));

        write(&files, &chain, &key);
        follower.look().await;
        assert_eq!(health.readiness().unwrap(), "ok");
    }
}
