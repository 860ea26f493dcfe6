//! Algorithms: their owners, their names, and the repository that their images are built into.

use std::fmt;
use std::str::FromStr;

use crate::reference::{Repository, is_component};

/// Why a text is no username or algorithm name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The documented pattern of a username.
    #[error("a username is a letter, then letters, digits or `_`, at most 30 in all")]
    Username,
    /// Ours: what a repository component allows, in any case.
    #[error("an algorithm name is a letter, then letters, digits, `_` or `-`, at most 64 in all")]
    Algorithm,
    /// Would not be a path component of a repository.
    #[error(
        "`{0}` divides with more than `__` or ends with a divider, so no repository can be named after it"
    )]
    Component(&'static str),
    /// Would shadow a route of the API.
    #[error("this name is a word of the API; choose another")]
    Reserved,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as it was first written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The form that is unique and that repositories are named after.
            pub fn to_lowercase(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text).map(|()| Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a user, equal in any case. It can never look like a UUID.
    Username,
    check_username
);
name!(
    /// The name of an algorithm among its owner's, equal in any case.
    AlgorithmName,
    check_algorithm
);

const RESERVED: [&str; 5] = ["version", "versions", "compile", "builds", "registry"];

fn check_username(text: &str) -> Result<(), NameError> {
    if !is_word(text, 30, b"_") {
        return Err(NameError::Username);
    }
    if is_component(&text.to_ascii_lowercase()) { Ok(()) } else { Err(NameError::Component("_")) }
}

fn check_algorithm(text: &str) -> Result<(), NameError> {
    if !is_word(text, 64, b"_-") {
        return Err(NameError::Algorithm);
    }
    let name = text.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) {
        return Err(NameError::Reserved);
    }
    if is_component(&name) { Ok(()) } else { Err(NameError::Component("_")) }
}

fn is_word(text: &str, limit: usize, dividers: &[u8]) -> bool {
    text.len() <= limit
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || dividers.contains(&byte))
}

/// Where the image of an algorithm lies inside a registry: `--source-repository`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryTemplate(String);

/// The template lacks a placeholder or does not render to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a repository template holds `{{owner}}` and `{{name}}` among lower-case path components, e.g. `algorithms/{{owner}}/{{name}}`"
)]
pub struct TemplateError;

impl RepositoryTemplate {
    /// The repository of one algorithm. Names are legal components by construction, and the template
    /// was tried when it was parsed.
    ///
    /// # Errors
    /// [`TemplateError`] when the names make the repository too long.
    pub fn render(&self, owner: &Username, name: &AlgorithmName) -> Result<Repository, TemplateError> {
        self.0
            .replace("{owner}", &owner.to_lowercase())
            .replace("{name}", &name.to_lowercase())
            .parse()
            .map_err(|_| TemplateError)
    }
}

impl FromStr for RepositoryTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let rendered = text.replacen("{owner}", "a", 1).replacen("{name}", "a", 1);
        // In one component two owners' images could meet: `a_b` + `c` and `a` + `b_c`.
        let apart = !text.split('/').any(|part| part.contains("{owner}") && part.contains("{name}"));
        let complete = text.contains("{owner}") && text.contains("{name}") && text.len() <= 64;
        if complete && apart && rendered.parse::<Repository>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(TemplateError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_repository_component_in_any_case() {
        assert_eq!("Hello_World".parse::<AlgorithmName>(), "hello_world".parse());
        for bad in ["", "1a", "a.b", "é", "a/b", "a b"] {
            assert_eq!(bad.parse::<AlgorithmName>(), Err(NameError::Algorithm), "{bad}");
        }
        assert_eq!("a-b".parse::<Username>(), Err(NameError::Username));
        assert_eq!("a___b".parse::<Username>(), Err(NameError::Component("_")));
        assert_eq!("a_".parse::<Username>(), Err(NameError::Component("_")));
        assert_eq!("Versions".parse::<AlgorithmName>(), Err(NameError::Reserved));
        assert_eq!("a".repeat(31).parse::<Username>(), Err(NameError::Username));
    }

    #[test]
    fn a_template_needs_both_placeholders() {
        let template: RepositoryTemplate = "algorithms/{owner}/{name}".parse().expect("legal");
        let (owner, name) = ("Ann".parse().expect("legal"), "Echo".parse().expect("legal"));
        assert_eq!(template.render(&owner, &name).map(|r| r.to_string()), Ok("algorithms/ann/echo".into()));
        for bad in [
            "{owner}",
            "algorithms/{name}",
            "A/{owner}/{name}",
            "/{owner}/{name}",
            "x/{owner}-{name}",
            "{owner}/{name}/{other}",
        ] {
            assert!(bad.parse::<RepositoryTemplate>().is_err(), "{bad}");
        }
    }
}
