//! Shows the content of a token, for the command line: `agent-bridge token inspect`.
//!
//! It says "verified" only if it was given the outcome of a verification. It never shows the
//! signature. Claims that are not about the token itself may be personal: only their kind and size
//! are shown, unless the caller asks for their values.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::timestamp;
use serde_json::{Map, Value};

use super::{TokenError, TokenIdentity, unverified::Parts};
use crate::Refusal;

/// Claims that are about the token, not about a person.
const PLAIN: &[&str] = &["iss", "aud", "exp", "nbf", "iat", "jti", "azp", "scope", "scp", "typ", "auth_time"];
/// Members of the header whose values are shown; others may hold keys or certificates.
const PLAIN_HEADER: &[&str] = &["alg", "typ", "kid", "crit", "cty", "x5t", "x5t#S256"];

/// What is known about a token's signature.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nobody checked it.
    NotVerified,
    /// It was verified, and so were its claims.
    Verified(Box<TokenIdentity>),
    /// It was refused.
    Refused(TokenError),
}

impl From<Result<TokenIdentity, TokenError>> for Outcome {
    fn from(result: Result<TokenIdentity, TokenError>) -> Self {
        match result {
            Ok(identity) => Self::Verified(Box::new(identity)),
            Err(error) => Self::Refused(error),
        }
    }
}

/// The content of a token; `Display` is the command's output.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Names, and what is shown of their values.
    pub header: Vec<(String, String)>,
    /// Names, and what is shown of their values.
    pub claims: Vec<(String, String)>,
    /// Bytes of the signature, which is not shown.
    pub signature_bytes: usize,
    /// What is known about the signature.
    pub outcome: Outcome,
}

/// Reads the content of a token. `with_personal`: show the values of all claims.
///
/// # Errors
/// It is not three parts of base64url with JSON objects in the first two, or it is too long.
pub fn inspect(token: &str, outcome: Outcome, with_personal: bool, now: SystemTime) -> Result<Inspection, TokenError> {
    let parts = Parts::of(token.trim())?;
    let show = |values: &Map<String, Value>, plain: &[&str], all: bool| {
        let shown = |(name, value): (&String, &Value)| {
            let text = if all || plain.contains(&name.as_str()) { plainly(name, value, now) } else { by_kind(value) };
            (on_one_line(name), text)
        };
        values.iter().map(shown).collect()
    };
    Ok(Inspection {
        header: show(&parts.header, PLAIN_HEADER, false),
        claims: show(&parts.claims, PLAIN, with_personal),
        signature_bytes: parts.signature.len() * 3 / 4,
        outcome,
    })
}

/// As JSON, which escapes what could move a terminal's cursor. Times are also shown as text.
fn plainly(name: &str, value: &Value, now: SystemTime) -> String {
    let text = on_one_line(&value.to_string());
    let is_time = matches!(name, "exp" | "nbf" | "iat" | "auth_time");
    let since_epoch = value.as_f64().filter(|_| is_time).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match since_epoch.and_then(|elapsed| UNIX_EPOCH.checked_add(elapsed)) {
        None => text,
        Some(time) => {
            let stamp = timestamp::text(time);
            let distance = match time.duration_since(now) {
                Ok(ahead) => format!("in {} s", ahead.as_secs()),
                Err(error) => format!("{} s ago", error.duration().as_secs()),
            };
            format!("{text} ({stamp}, {distance})")
        }
    }
}

fn by_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "[a truth value]".to_owned(),
        Value::Number(_) => "[a number]".to_owned(),
        Value::String(text) => format!("[text of {} characters]", text.chars().count()),
        Value::Array(items) => format!("[a list of {}]", items.len()),
        Value::Object(members) => format!("[an object of {}]", members.len()),
    }
}

/// Control and direction characters as escapes.
fn on_one_line(text: &str) -> String {
    let is_safe = |character: char| {
        !character.is_control()
            && !('\u{2028}'..='\u{202e}').contains(&character)
            && !('\u{2066}'..='\u{2069}').contains(&character)
    };
    text.chars().flat_map(|it| if is_safe(it) { vec![it] } else { it.escape_unicode().collect() }).collect()
}

impl fmt::Display for Inspection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, rows) in [("header", &self.header), ("claims", &self.claims)] {
            writeln!(out, "{title}:")?;
            rows.iter().try_for_each(|(name, value)| writeln!(out, "  {name}: {value}"))?;
        }
        write!(out, "signature: {} bytes, ", self.signature_bytes)?;
        match &self.outcome {
            Outcome::NotVerified => write!(out, "NOT VERIFIED; anyone could have written this token"),
            Outcome::Verified(identity) => {
                let scopes: Vec<&str> = identity.scopes.iter().map(String::as_str).collect();
                let scopes = on_one_line(&scopes.join(" "));
                write!(out, "verified: user {} of {}, scopes {:?}", identity.user, identity.issuer, scopes)?;
                identity.wallet.map_or(Ok(()), |wallet| write!(out, ", wallet {wallet}"))
            }
            Outcome::Refused(error) => write!(out, "REFUSED ({}): {error}", error.code()),
        }
    }
}
