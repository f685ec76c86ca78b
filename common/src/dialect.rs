//! The dialects: protocols of other systems that the bridge speaks with their clients.

use serde::{Deserialize, Serialize};

/// The prefix of the users that the bridge itself gives to clients who prove a dialect's key. No
/// issuer can assign such an id.
pub const USER_PREFIX: &str = "dialect:";

/// A dialect, by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The supervisor that takes text messages and mail.
    Supervisor,
    /// The gateway between one user's web app, browser extension and local programs.
    Hybrid,
    /// A dialect that this version does not know: the edge is newer than the broker.
    #[serde(other)]
    Unknown,
}

impl Dialect {
    /// Every dialect of this version.
    pub const ALL: [Self; 2] = [Self::Supervisor, Self::Hybrid];

    /// The name in the configuration, in `/stats` and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Hybrid => "hybrid",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration_and_later_ones_are_read() {
        for dialect in Dialect::ALL {
            assert_eq!(serde_json::to_string(&dialect).expect("JSON"), format!("{:?}", dialect.as_str()));
        }
        assert_eq!(serde_json::from_str::<Dialect>("\"morse\"").expect("a name"), Dialect::Unknown);
    }
}
