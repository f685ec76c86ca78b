//! Logins: with a wallet (Sign-In with Ethereum), or with the token of a trusted issuer.
//!
//! A login changes the caller's session in place. It keeps its id, and those of its sockets that
//! the caller names. Everything else that was opened or signed before is no longer valid, because
//! whoever held the session until then is not known to be the one who logs in. [`identity`] checks
//! the login; [`crate::sessions`] applies it to the session. A login ends with its session: the
//! next login gets another session.

mod issuers;
mod node;
pub mod routes;

use std::{sync::Arc, time::Duration};

use common::config::Settings;
use identity::{
    siwe::{Challenges, SiweSetting, SiweSettings},
    tokens::TokenVerifier,
};
use parking_lot::Mutex;

pub use issuers::{keep_keys, key_set_fault};
pub use routes::{ChallengeAsk, TokenAsk, VerifyAsk};

use crate::http::Outbound;
use node::Nodes;

/// Logins with a wallet: the open challenges, and the nodes that know contract wallets.
pub struct Wallets {
    challenges: Mutex<Challenges>,
    nodes: Nodes,
    lifetime: Duration,
}

/// The ways to log in.
pub struct Logins {
    /// `None`: not offered.
    wallets: Option<Wallets>,
}

/// The configuration's name of a setting of wallet logins.
const fn key_of(setting: SiweSetting) -> &'static str {
    match setting {
        SiweSetting::Domain => "auth.siwe_domain",
        SiweSetting::Uri => "auth.siwe_uri",
        SiweSetting::Statement => "auth.siwe_statement",
        SiweSetting::Chains => "auth.siwe_chains",
        SiweSetting::ContractChains => "auth.eth_rpc_urls",
        SiweSetting::Lifetime => "auth.siwe_ttl",
    }
}

impl Logins {
    /// The ways to log in of these settings, and the verifier of the issuer's tokens.
    ///
    /// # Errors
    /// All faults of the settings: the setting and the fault.
    pub fn new(settings: &Settings) -> Result<(Self, TokenVerifier), Vec<(&'static str, String)>> {
        let outbound = Arc::new(Outbound::default());
        let verifier = issuers::verifier(&settings.auth, &outbound)?;
        let siwe = settings.siwe_domain().zip(settings.siwe_uri()).map(|(domain, uri)| SiweSettings {
            statement: settings.auth.siwe_statement.clone(),
            chains: settings.auth.siwe_chains.iter().copied().collect(),
            contract_chains: settings.auth.eth_rpc_urls.iter().map(|node| node.chain).collect(),
            lifetime: settings.auth.siwe_ttl,
            ..SiweSettings::new(domain, uri)
        });
        let faults: Vec<_> =
            siwe.iter().flat_map(SiweSettings::faults).map(|(setting, fault)| (key_of(setting), fault.to_owned())).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let wallets = siwe.map(|siwe| Wallets {
            lifetime: siwe.lifetime,
            challenges: Mutex::new(Challenges::new(siwe)),
            nodes: Nodes::new(&settings.auth.eth_rpc_urls, outbound),
        });
        Ok((Self { wallets }, verifier))
    }
}
