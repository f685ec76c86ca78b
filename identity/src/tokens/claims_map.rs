//! Where in an issuer's tokens things are.

use std::str::FromStr;

use serde_json::{Map, Value};

/// The place of a value in the claims: a claim's name, or a JSON pointer (`/app_metadata/role`)
/// into nested ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPath {
    /// A claim at the top. Its name is used literally, including dots.
    Name(String),
    /// RFC 6901.
    Pointer(String),
}

/// Not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty or longer than 256; name a claim, or write a JSON pointer that begins with /")]
pub struct BadPath;

impl FromStr for ClaimPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        match text {
            "" | "/" => Err(BadPath),
            _ if text.len() > 256 => Err(BadPath),
            _ if text.starts_with('/') => Ok(Self::Pointer(text.to_owned())),
            _ => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl ClaimPath {
    /// The value there; null counts as absent.
    pub(super) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let found = match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(pointer) => {
                let (first, rest) = match pointer.get(1..)?.split_once('/') {
                    Some((first, _)) => (first, pointer.get(1 + first.len()..)?),
                    None => (pointer.get(1..)?, ""),
                };
                claims.get(&first.replace("~1", "/").replace("~0", "~")).and_then(|value| value.pointer(rest))
            }
        };
        found.filter(|value| !value.is_null())
    }
}

/// Where the values are in an issuer's tokens.
#[derive(Clone, Debug)]
pub struct ClaimsMap {
    /// The user. Default `sub`.
    pub user: ClaimPath,
    /// The prefix of this issuer's users, so that two issuers' users are never the same. Default
    /// empty.
    pub user_prefix: String,
    /// The user's wallet, if the issuer knows it. Default none.
    pub wallet: Option<ClaimPath>,
    /// The scopes: texts separated by spaces, or lists of texts; all are combined. Default `scope`.
    pub scopes: Vec<ClaimPath>,
}

impl Default for ClaimsMap {
    fn default() -> Self {
        Self {
            user: ClaimPath::Name("sub".into()),
            user_prefix: String::new(),
            wallet: None,
            scopes: vec![ClaimPath::Name("scope".into())],
        }
    }
}
