//! The settings of logins: with a wallet, and with the tokens of a trusted issuer.

use std::{path::PathBuf, time::Duration};

use crate::secret::Secret;

/// How people log in at the edge.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The authority of the site, for the message that a wallet signs. `None`: the edge's own
    /// address if that is loopback; elsewhere wallets then cannot log in. Read it through
    /// [`super::Settings::siwe_domain`].
    pub siwe_domain: Option<String>,
    /// The URI of the login in that message. `None`: the domain's own page. Read it through
    /// [`super::Settings::siwe_uri`].
    pub siwe_uri: Option<String>,
    /// The statement in that message. `None`: none.
    pub siwe_statement: Option<String>,
    /// The chains (EIP-155) whose wallets may log in. Default 1, Ethereum's own.
    pub siwe_chains: Vec<u64>,
    /// How long a challenge is valid. Default 5 min.
    pub siwe_ttl: Duration,
    /// The nodes that are asked about contract wallets. Default none.
    pub eth_rpc_urls: Vec<ChainUrl>,
    /// The address of a Supabase project, which stands for the issuer's settings that are unset.
    /// Default none.
    pub supabase_url: Option<String>,
    /// The value of `iss` in trusted tokens; empty: no issuer is trusted. Default none.
    pub jwt_issuers: Vec<String>,
    /// The audiences, of which a trusted token must have one in `aud`.
    pub jwt_audiences: Vec<String>,
    /// The secret that the issuer shares with the edge; empty: none.
    pub jwt_secret: Secret,
    /// Where the issuer publishes its keys.
    pub jwks_url: Option<String>,
    /// The file with the issuer's keys.
    pub jwks_file: Option<PathBuf>,
    /// The least time between two fetches of those keys. Default 30 s.
    pub jwks_least_interval: Duration,
    /// How long those keys stay valid, after they should have been fetched again, if the issuer
    /// does not answer. Default 24 h.
    pub jwks_stale_for: Duration,
    /// The algorithms that the issuer may use. Empty: HS256 with a secret, else RS256, PS256,
    /// ES256, ES384 and EdDSA.
    pub jwt_algorithms: Vec<String>,
    /// How far the issuer's clock may differ. Default 60 s.
    pub jwt_leeway: Duration,
    /// The claim that holds the user. Default `sub`.
    pub jwt_user_claim: String,
    /// The prefix of the ids of the issuer's users. Default none.
    pub jwt_user_prefix: Option<String>,
    /// The claim that holds the user's wallet. Default none.
    pub jwt_wallet_claim: Option<String>,
    /// The claims that hold scopes. Default `scope`.
    pub jwt_scope_claims: Vec<String>,
}

/// The JSON-RPC endpoint of a chain's node.
#[derive(Clone, Debug)]
pub struct ChainUrl {
    /// The chain (EIP-155).
    pub chain: u64,
    /// The URL. Secret, because providers put their keys into it.
    pub url: Secret,
}

impl AuthSettings {
    /// Fills in the issuer's settings that a Supabase project stands for.
    pub(super) fn fill_in(&mut self) {
        let Some(url) = &self.supabase_url else { return };
        let auth = format!("{url}/auth/v1");
        if self.jwt_secret.is_empty() && self.jwks_url.is_none() && self.jwks_file.is_none() {
            self.jwks_url = Some(format!("{auth}/.well-known/jwks.json"));
        }
        if self.jwt_issuers.is_empty() {
            self.jwt_issuers.push(auth);
        }
        if self.jwt_audiences.is_empty() {
            self.jwt_audiences.push("authenticated".into());
        }
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            siwe_domain: None,
            siwe_uri: None,
            siwe_statement: None,
            siwe_chains: vec![1],
            siwe_ttl: Duration::from_secs(300),
            eth_rpc_urls: Vec::new(),
            supabase_url: None,
            jwt_issuers: Vec::new(),
            jwt_audiences: Vec::new(),
            jwt_secret: Secret::new(""),
            jwks_url: None,
            jwks_file: None,
            jwks_least_interval: Duration::from_secs(30),
            jwks_stale_for: Duration::from_secs(24 * 3600),
            jwt_algorithms: Vec::new(),
            jwt_leeway: Duration::from_secs(60),
            jwt_user_claim: "sub".into(),
            jwt_user_prefix: None,
            jwt_wallet_claim: None,
            jwt_scope_claims: vec!["scope".into()],
        }
    }
}
