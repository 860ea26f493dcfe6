//! Seals credentials with XChaCha20-Poly1305, bound to the row and the host that they belong to: moved to
//! another row, or once the registry is another host, they cannot be opened.

use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::credentials::Credentials;
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

const NONCE: usize = 24;

/// The key of `--seal-key-file`.
pub struct SealKey(XChaCha20Poly1305);

/// Credentials could not be sealed or unsealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gives no random bytes.
    #[error("no random bytes are to be had")]
    Random,
    /// Sealed with another key, for another row or host, or damaged.
    #[error("sealed with another key, for another row or host, or damaged")]
    Sealed,
}

impl SealKey {
    /// Reads the key.
    ///
    /// # Errors
    /// [`SecretFileError`], also when the file holds no 32 bytes in base64.
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(path)?;
        Self::parse(&text)
            .ok_or_else(|| SecretFileError::Form { path: path.into(), expected: "32 random bytes in base64" })
    }

    /// Makes the key's file unless another process just did, then reads it.
    ///
    /// # Errors
    /// [`SecretFileError`].
    pub fn make(path: &Path) -> Result<Self, SecretFileError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut()).map_err(|_| SecretFileError::Random)?;
        use base64::Engine as _;
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(*bytes));
        secret_file::make(path, &text)?;
        Self::read(path)
    }

    fn parse(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(text).ok()?);
        XChaCha20Poly1305::new_from_slice(&bytes).ok().map(Self)
    }

    /// Seals bytes for one place.
    pub(crate) fn seal(&self, bytes: &[u8], place: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let sealed = self
            .0
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: bytes, aad: place.as_bytes() })
            .map_err(|_| SealError::Sealed)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for the same place.
    pub(crate) fn unseal(&self, sealed: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(SealError::Sealed)?;
        self.0
            .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: place.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Sealed)
    }

    /// Seals a login for one place. Its two parts are divided by their lengths, since either may hold anything.
    pub(crate) fn seal_login(&self, login: &Credentials, place: &str) -> Result<Vec<u8>, SealError> {
        let (username, password) = (login.username().as_bytes(), login.reveal_password().as_bytes());
        let length = u32::try_from(username.len()).map_err(|_| SealError::Sealed)?;
        let bytes = Zeroizing::new([&length.to_be_bytes(), username, password].concat());
        self.seal(&bytes, place)
    }

    /// Opens a login that was sealed for the same place.
    pub(crate) fn unseal_login(&self, sealed: &[u8], place: &str) -> Result<Credentials, SealError> {
        let bytes = self.unseal(sealed, place)?;
        let login = || {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (username, password) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            Some(Credentials::new(str::from_utf8(username).ok()?, str::from_utf8(password).ok()?))
        };
        login().ok_or(SealError::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        use base64::Engine as _;
        SealKey::parse(&base64::engine::general_purpose::STANDARD.encode([7; 32])).expect("a key")
    }

    #[test]
    fn a_login_opens_in_its_own_place_alone() {
        let login = Credentials::new("robot$a", "p\"ä\\\u{0}ss");
        let sealed = key().seal_login(&login, "registry 1 at h.example").expect("sealed");
        assert_eq!(key().unseal_login(&sealed, "registry 1 at h.example"), Ok(login));
        assert_eq!(key().unseal_login(&sealed, "registry 1 at evil.example"), Err(SealError::Sealed));
        assert_eq!(key().unseal_login(&sealed[..10], "registry 1 at h.example"), Err(SealError::Sealed));
        assert!(!sealed.windows(5).any(|bytes| bytes == b"robot"));
    }

    #[test]
    fn a_key_is_thirty_two_bytes() {
        assert!(SealKey::parse("c2hvcnQ=").is_none());
        assert!(SealKey::parse("not base64").is_none());
    }
}
