use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a credential allows. Each role includes the ones before it.
///
/// Queues serve all organisations at once, so that `operator` and `admin` are roles of the platform's own staff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    /// Submits, reads and cancels the organisation's own jobs and assets.
    Submitter,
    /// Also handles dead letters and queues.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 3] = [Self::Submitter, Self::Operator, Self::Admin];

    /// The name as it stands in tokens, on the command line and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitter => "submitter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Not the name of a role.
#[derive(Debug, thiserror::Error)]
#[error("unknown role `{0}` (known: submitter, operator, admin)")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_the_ones_before_it() {
        assert!(Role::Submitter < Role::Operator && Role::Operator < Role::Admin);
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().expect("its own name"), role);
            assert_eq!(serde_json::to_value(role).expect("a string"), role.as_str());
        }
        assert!("root".parse::<Role>().is_err());
    }
}
