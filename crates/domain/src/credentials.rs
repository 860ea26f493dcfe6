//! A login to a registry. It cannot be printed, and its memory is wiped when it goes.

use std::fmt;

use zeroize::Zeroizing;

/// A username and a password (or a token that serves as one).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// A login; neither part is checked.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: Zeroizing::new(password.into()) }
    }

    /// The name to log in with.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, for the one place that sends it.
    pub fn reveal_password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_cannot_be_printed() {
        let printed = format!("{:?}", Credentials::new("ann", "hunter2"));
        assert!(!printed.contains("ann") && !printed.contains("hunter2"), "{printed}");
    }
}
