//! The settings of logins with a wallet.

use std::{collections::BTreeSet, time::Duration};

use super::grammar;

/// The settings of Sign-In with Ethereum.
#[derive(Clone, Debug)]
pub struct SiweSettings {
    /// The authority of the site, `app.example` or `localhost:8081`. Wallets show it and compare it
    /// with the page's.
    pub domain: String,
    /// The purpose of the login: a URI of the site.
    pub uri: String,
    /// The text for the person; ASCII without quotes or line breaks. `None`: none.
    pub statement: Option<String>,
    /// The chains (EIP-155) whose wallets may log in. Default 1, Ethereum's own.
    pub chains: BTreeSet<u64>,
    /// The chains for which a node can be asked about contract wallets. Default none.
    pub contract_chains: BTreeSet<u64>,
    /// How long a challenge is valid. Default 5 minutes.
    pub lifetime: Duration,
    /// Challenges open in all; at the bound the oldest gives way. Default 100,000, some 40 MB.
    pub max_challenges: usize,
    /// Challenges open for one session; at the bound its oldest gives way. Default 4.
    pub max_per_session: usize,
}

/// One of the settings, as faults name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiweSetting {
    /// [`SiweSettings::domain`].
    Domain,
    /// [`SiweSettings::uri`].
    Uri,
    /// [`SiweSettings::statement`].
    Statement,
    /// [`SiweSettings::chains`].
    Chains,
    /// [`SiweSettings::contract_chains`].
    ContractChains,
    /// [`SiweSettings::lifetime`] and the bounds on open challenges.
    Lifetime,
}

impl SiweSettings {
    /// The defaults for a site.
    pub fn new(domain: impl Into<String>, uri: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            uri: uri.into(),
            statement: None,
            chains: BTreeSet::from([1]),
            contract_chains: BTreeSet::new(),
            lifetime: Duration::from_secs(300),
            max_challenges: 100_000,
            max_per_session: 4,
        }
    }

    /// All faults of the settings: which setting, and what is wrong.
    pub fn faults(&self) -> Vec<(SiweSetting, &'static str)> {
        let is_ascii = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let mut faults = Vec::new();
        let mut fault_unless = |is_good: bool, setting, fault| {
            if !is_good {
                faults.push((setting, fault));
            }
        };
        fault_unless(
            is_ascii(&self.domain) && grammar::is_authority(&self.domain) && self.domain.len() <= 255,
            SiweSetting::Domain,
            "the domain is not an authority such as app.example or localhost:8081",
        );
        fault_unless(
            is_ascii(&self.uri) && grammar::is_uri(&self.uri) && self.uri.len() <= 1024,
            SiweSetting::Uri,
            "the URI is not one of RFC 3986",
        );
        fault_unless(
            self.statement.as_deref().is_none_or(|text| grammar::is_statement(text) && text.len() <= 1024),
            SiweSetting::Statement,
            "the statement is empty, longer than 1024, or has characters that EIP-4361 does not allow (only letters, digits, spaces and -._~:/?#[]@!$&'()*+,;=)",
        );
        fault_unless(!self.chains.is_empty(), SiweSetting::Chains, "no chain is allowed");
        fault_unless(
            self.contract_chains.is_subset(&self.chains),
            SiweSetting::ContractChains,
            "a chain with a node is not among the chains allowed",
        );
        fault_unless(
            (Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&self.lifetime),
            SiweSetting::Lifetime,
            "the lifetime of a challenge is not between 10 s and 1 h",
        );
        fault_unless(
            self.max_challenges > 0 && self.max_per_session > 0,
            SiweSetting::Lifetime,
            "no challenge could be open at all",
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_reported_at_once() {
        let mut settings = SiweSettings::new("app.example", "https://app.example");
        assert!(settings.faults().is_empty());
        settings.domain = "https://app.example".into();
        settings.statement = Some("\"hi\"".into());
        settings.chains.clear();
        settings.lifetime = Duration::ZERO;
        assert_eq!(settings.faults().len(), 4);
    }
}
