//! The claims of a token with a valid signature: checks times and audience, and finds the user, the
//! wallet and the scopes.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{
    dialect,
    id::{MAX_NAME, UserId},
};
use serde_json::{Map, Value};

use super::{ClaimsMap, IssuerSettings, TokenError};
use crate::{
    escape_name,
    siwe::{Address, Wallet},
};

/// The end of the year 9999: no time in a token is later.
const LAST_SECOND: f64 = 253_402_300_799.0;
const MAX_SCOPES: usize = 256;

/// Who a token proves its bearer to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    /// The issuer's name in the settings.
    pub issuer: String,
    /// The user: the issuer's prefix and the claim, [escaped](escape_name).
    pub user: UserId,
    /// The wallet, if the issuer vouches for one.
    pub wallet: Option<Address>,
    /// The scopes.
    pub scopes: BTreeSet<String>,
    /// When it was issued, if it says so.
    pub issued_at: Option<SystemTime>,
    /// When it expires, with the leeway added: it is accepted until then.
    pub expires_at: SystemTime,
}

/// Checks the claims, and reads them.
///
/// # Errors
/// `token_audience_wrong`, `_expired`, `_not_yet_valid`, `_issued_in_future`, `_claim_missing`,
/// `_claim_invalid`.
pub(super) fn identity(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
    now: SystemTime,
) -> Result<TokenIdentity, TokenError> {
    let is_our_audience = |value: &Value| value.as_str().is_some_and(|name| settings.audiences.iter().any(|ours| ours == name));
    match claims.get("aud") {
        None => return Err(TokenError::ClaimMissing),
        Some(Value::Array(audiences)) if audiences.iter().any(is_our_audience) => {}
        Some(audience) if is_our_audience(audience) => {}
        Some(_) => return Err(TokenError::AudienceWrong),
    }
    without_audience(claims, settings, now)
}

/// Checks all claims but the audience, and reads them.
///
/// # Errors
/// Those of [`identity`] but `token_audience_wrong`.
pub(super) fn without_audience(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
    now: SystemTime,
) -> Result<TokenIdentity, TokenError> {
    let expires_at = time(claims, "exp")?.ok_or(TokenError::ClaimMissing)?;
    let later = now.checked_add(settings.leeway).unwrap_or(now);
    let earlier = now.checked_sub(settings.leeway).unwrap_or(now);
    if expires_at <= earlier {
        return Err(TokenError::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|start| start > later) {
        return Err(TokenError::NotYetValid);
    }
    let issued_at = time(claims, "iat")?;
    if issued_at.is_some_and(|issued| issued > later) {
        return Err(TokenError::IssuedInFuture);
    }
    Ok(TokenIdentity {
        issuer: settings.name.clone(),
        user: user(claims, &settings.claims)?,
        wallet: wallet(claims, &settings.claims)?,
        scopes: scopes(claims, &settings.claims)?,
        issued_at,
        expires_at: expires_at.checked_add(settings.leeway).unwrap_or(expires_at),
    })
}

/// A NumericDate (RFC 7519): seconds, possibly fractional.
pub(super) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, TokenError> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds)),
        Some(_) => None,
    };
    let since_epoch = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    since_epoch.and_then(|elapsed| UNIX_EPOCH.checked_add(elapsed)).map(Some).ok_or(TokenError::ClaimInvalid)
}

fn user(claims: &Map<String, Value>, map: &ClaimsMap) -> Result<UserId, TokenError> {
    let subject = match map.user.find(claims) {
        None => return Err(TokenError::ClaimMissing),
        Some(Value::String(subject)) if !subject.is_empty() => subject,
        Some(_) => return Err(TokenError::ClaimInvalid),
    };
    let room = MAX_NAME.saturating_sub(map.user_prefix.len());
    let id = format!("{}{}", map.user_prefix, escape_name(subject, room));
    // No issuer may name the users that wallets prove, or those of dialects.
    if [Wallet::USER_PREFIX, dialect::USER_PREFIX].iter().any(|prefix| id.starts_with(prefix)) {
        return Err(TokenError::ClaimInvalid);
    }
    UserId::new(&id).map_err(|_| TokenError::ClaimInvalid)
}

fn wallet(claims: &Map<String, Value>, map: &ClaimsMap) -> Result<Option<Address>, TokenError> {
    match map.wallet.as_ref().and_then(|path| path.find(claims)) {
        None => Ok(None),
        Some(value) => {
            let address = value.as_str().and_then(|text| Address::parse(text).ok());
            address.map(Some).ok_or(TokenError::ClaimInvalid)
        }
    }
}

fn scopes(claims: &Map<String, Value>, map: &ClaimsMap) -> Result<BTreeSet<String>, TokenError> {
    let mut scopes = BTreeSet::new();
    for value in map.scopes.iter().filter_map(|path| path.find(claims)) {
        match value {
            Value::String(text) => scopes.extend(text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned)),
            Value::Array(items) => {
                for item in items {
                    scopes.insert(item.as_str().ok_or(TokenError::ClaimInvalid)?.to_owned());
                }
            }
            _ => return Err(TokenError::ClaimInvalid),
        }
    }
    if scopes.len() > MAX_SCOPES { Err(TokenError::ClaimInvalid) } else { Ok(scopes) }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
