//! Who may do what: the roles of API keys and the rule of each.

use crate::algorithm::Username;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Manages registries, users' keys and cluster-wide settings; reads and re-pushes everything.
    Admin,
    /// Manages its owner's algorithms.
    Standard,
    /// Reads the route feed and nothing else.
    RouteReader,
}

impl Role {
    /// The word that the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Standard => "standard",
            Self::RouteReader => "route-reader",
        }
    }

    /// The role of a kept word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Admin, Self::Standard, Self::RouteReader].into_iter().find(|role| role.as_str() == word)
    }
}

/// The holder of a key that was found to be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What the key may do.
    pub role: Role,
    /// Whose key it is; the first admin key is nobody's.
    pub username: Option<Username>,
}

impl Caller {
    /// Whether this caller manages registries, keys and settings.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether this caller may list the registries to push to.
    pub fn may_read_registries(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Standard)
    }

    /// Whether this caller may read the route feed.
    pub fn may_read_routes(&self) -> bool {
        matches!(self.role, Role::Admin | Role::RouteReader)
    }

    /// Whether this caller may read and re-push the algorithms of `owner`.
    pub fn may_operate(&self, owner: &Username) -> bool {
        self.is_admin() || self.may_manage(owner)
    }

    /// Whether this caller may create, change, compile and publish the algorithms of `owner`.
    pub fn may_manage(&self, owner: &Username) -> bool {
        self.role != Role::RouteReader && self.username.as_ref() == Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role, name: &str) -> Caller {
        Caller { role, username: Some(name.parse().expect("legal")) }
    }

    #[test]
    fn a_standard_key_reaches_its_owner_alone() {
        let ann: Username = "Ann".parse().expect("legal");
        assert!(caller(Role::Standard, "ann").may_manage(&ann));
        assert!(!caller(Role::Standard, "anna").may_operate(&ann));
        assert!(caller(Role::Admin, "root").may_operate(&ann));
        assert!(!caller(Role::RouteReader, "ann").may_operate(&ann));
    }
}
