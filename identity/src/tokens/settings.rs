//! The operator's settings for an issuer, and their possible faults.

use std::{collections::HashSet, time::Duration};

use common::secret::Secret;

use super::{Algorithm, ClaimsMap, KeyRing};
use crate::siwe::Wallet;

/// The shortest secret that may sign tokens, in bytes (RFC 7518, 3.2: as long as the hash).
pub(super) const MIN_SECRET: usize = 32;

/// How an issuer's signatures are checked.
pub enum Trust {
    /// A secret that the issuer shares with us.
    Secret(Secret),
    /// Keys that the issuer publishes.
    Keys(Box<KeyRing>),
}

/// A trusted issuer.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Its name in logs.
    pub name: String,
    /// The values of `iss` in its tokens: one or more, compared exactly.
    pub issuers: Vec<String>,
    /// The audiences, one of which its tokens must have in `aud`.
    pub audiences: Vec<String>,
    /// The algorithms it may use. Empty: HS256 with a secret; RS256, PS256, ES256, ES384 and EdDSA
    /// with published keys.
    pub algorithms: Vec<Algorithm>,
    /// Where the values are in its tokens.
    pub claims: ClaimsMap,
    /// How far its clock may differ. Default 60 s.
    pub leeway: Duration,
}

impl IssuerSettings {
    /// An issuer with the usual claims.
    pub fn new(name: impl Into<String>, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            issuers: vec![issuer.into()],
            audiences: vec![audience.into()],
            algorithms: Vec::new(),
            claims: ClaimsMap::default(),
            leeway: Duration::from_secs(60),
        }
    }

    /// The algorithms in force.
    pub(super) fn algorithms(&self, trust: &Trust) -> Vec<Algorithm> {
        use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256};
        match (self.algorithms.as_slice(), trust) {
            ([], Trust::Secret(_)) => vec![HS256],
            ([], Trust::Keys(_)) => vec![RS256, PS256, ES256, ES384, EdDSA],
            (named, _) => named.to_vec(),
        }
    }

    fn faults(&self, trust: &Trust, faults: &mut Vec<String>) {
        let mut fault_if = |is_bad: bool, fault: &str| {
            if is_bad {
                faults.push(format!("token issuer {:?}: {fault}", self.name));
            }
        };
        let is_blank = |texts: &[String]| texts.is_empty() || texts.iter().any(String::is_empty);
        fault_if(is_blank(&self.issuers), "no `iss` is named, or an empty one");
        fault_if(is_blank(&self.audiences), "no audience is named, or an empty one");
        fault_if(self.leeway > Duration::from_secs(300), "the leeway is over 5 minutes");
        fault_if(
            Wallet::USER_PREFIX.starts_with(&self.claims.user_prefix) && !self.claims.user_prefix.is_empty()
                || self.claims.user_prefix.starts_with(Wallet::USER_PREFIX),
            "its users could be taken for those of wallets: choose another user prefix",
        );
        fault_if(
            self.claims.user_prefix.len() > 64
                || !self.claims.user_prefix.is_empty() && common::id::check_name(&self.claims.user_prefix).is_err(),
            "the user prefix is longer than 64 or has characters other than A-Z a-z 0-9 . _ - : / @ +",
        );
        let is_symmetric = matches!(trust, Trust::Secret(_));
        fault_if(
            self.algorithms.iter().any(|algorithm| algorithm.is_symmetric() != is_symmetric),
            "its algorithms do not go with what its signatures are checked with (HS* with a secret, all others with published keys)",
        );
        if let Trust::Secret(secret) = trust {
            fault_if(secret.reveal().len() < MIN_SECRET, "its secret has fewer than 32 bytes");
            let text = secret.reveal().trim_start();
            fault_if(
                text.starts_with("-----BEGIN") || text.starts_with('{') || text.starts_with("ssh-"),
                "its secret is a key in PEM, JWK or SSH form: whoever has the public key could sign tokens",
            );
        }
    }
}

/// All faults of a list of issuers.
pub(super) fn faults(issuers: &[(IssuerSettings, Trust)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (settings, trust) in issuers {
        settings.faults(trust, &mut faults);
        for issuer in &settings.issuers {
            if !seen.insert(issuer) {
                faults.push(format!("`iss` {issuer:?} is named twice"));
            }
        }
    }
    let prefixes: Vec<&str> = issuers.iter().map(|(settings, _)| settings.claims.user_prefix.as_str()).collect();
    for (place, prefix) in prefixes.iter().enumerate() {
        let clashes = prefixes.iter().enumerate().any(|(other, longer)| other != place && longer.starts_with(prefix));
        if clashes {
            faults.push(format!(
                "the user prefix {prefix:?} is also the beginning of another issuer's: users of both could be the same"
            ));
        }
    }
    faults
}
