//! The trusted issuer, from the settings.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use common::{config::AuthSettings, error::ErrorCode};
use futures_util::{FutureExt, future::BoxFuture};
use identity::tokens::{
    Algorithm, ClaimPath, ClaimsMap, FileKeys, IssuerSettings, KeyRing, KeyRingSettings, KeySource, KeySourceFault,
    PublishedKeys, TokenVerifier, Trust,
};

use crate::http::Outbound;

/// How often to check whether the issuer's keys must be fetched again.
const KEY_CHECKS: Duration = Duration::from_secs(30);
/// The issuer's name in logs.
const NAME: &str = "auth.jwt_issuer";

/// A key set behind a URL.
struct UrlKeys {
    url: String,
    outbound: Arc<Outbound>,
}

impl KeySource for UrlKeys {
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, KeySourceFault>> {
        let (url, outbound) = (self.url.clone(), Arc::clone(&self.outbound));
        async move { outbound.get(&url).await.map_err(|error| KeySourceFault(error.to_string())) }.boxed()
    }
}

/// The verifier of the issuer's tokens; without an issuer it accepts none.
///
/// # Errors
/// All faults of the settings: the setting and the fault.
pub fn verifier(settings: &AuthSettings, outbound: &Arc<Outbound>) -> Result<TokenVerifier, Vec<(&'static str, String)>> {
    const ISSUER: &str = "auth.jwt_issuer";
    let of_issuer = |faults: Vec<String>| faults.into_iter().map(|fault| (ISSUER, fault)).collect::<Vec<_>>();
    let trust = match (&settings.jwks_url, &settings.jwks_file) {
        _ if settings.jwt_issuers.is_empty() => return TokenVerifier::new(Vec::new()).map_err(of_issuer),
        (Some(url), _) => published(Box::new(UrlKeys { url: url.clone(), outbound: Arc::clone(outbound) }), settings),
        (None, Some(path)) => published(Box::new(FileKeys(path.clone())), settings),
        (None, None) => Trust::Secret(settings.jwt_secret.clone()),
    };
    let claim = |key: &'static str, text: &String| {
        text.parse::<ClaimPath>().map_err(|error| vec![(key, format!("the claim {text:?} {error}"))])
    };
    let algorithm = |text: &String| {
        text.parse::<Algorithm>().map_err(|error| vec![("auth.jwt_algorithms", format!("the algorithm {text:?} {error}"))])
    };
    let issuer = IssuerSettings {
        name: NAME.to_owned(),
        issuers: settings.jwt_issuers.clone(),
        audiences: settings.jwt_audiences.clone(),
        algorithms: settings.jwt_algorithms.iter().map(algorithm).collect::<Result<_, _>>()?,
        claims: ClaimsMap {
            user: claim("auth.jwt_user_claim", &settings.jwt_user_claim)?,
            user_prefix: settings.jwt_user_prefix.clone().unwrap_or_default(),
            wallet: settings.jwt_wallet_claim.as_ref().map(|text| claim("auth.jwt_wallet_claim", text)).transpose()?,
            scopes: settings
                .jwt_scope_claims
                .iter()
                .map(|text| claim("auth.jwt_scope_claims", text))
                .collect::<Result<_, _>>()?,
        },
        leeway: settings.jwt_leeway,
    };
    TokenVerifier::new(vec![(issuer, trust)]).map_err(of_issuer)
}

/// The fault of the file with the issuer's keys, which is read again while the edge runs.
pub fn key_set_fault(settings: &AuthSettings) -> Option<(&'static str, String)> {
    let path = settings.jwks_file.as_ref().filter(|_| !settings.jwt_issuers.is_empty())?;
    let fault = match std::fs::read(path) {
        Ok(json) => PublishedKeys::parse(&json).err().map(|fault| format!("{} is no key set: {fault}", path.display())),
        Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
    };
    fault.map(|fault| ("auth.jwks_file", fault))
}

fn published(source: Box<dyn KeySource>, settings: &AuthSettings) -> Trust {
    let settings = KeyRingSettings {
        least_interval: settings.jwks_least_interval,
        stale_for: settings.jwks_stale_for,
        ..KeyRingSettings::default()
    };
    let spawn = |fetch| drop(tokio::spawn(fetch));
    Trust::Keys(Box::new(KeyRing::new(source, settings, Box::new(spawn))))
}

/// Fetches the issuer's keys before a login needs them, as long as it is polled, and logs if they
/// are unavailable.
pub async fn keep_keys(verifier: &TokenVerifier) {
    let mut ticks = tokio::time::interval(KEY_CHECKS);
    let mut told = Vec::new();
    loop {
        ticks.tick().await;
        let faults = verifier.refresh(SystemTime::now()).await;
        for (issuer, error) in faults.iter().filter(|fault| !told.contains(*fault)) {
            let code = ErrorCode::TokenKeysUnavailable.as_str();
            tracing::warn!(code, issuer, %error, "the issuer's keys cannot be fetched: tokens that fit no kept key are refused with this code, and all tokens once the kept keys are too old");
        }
        told = faults;
    }
}
