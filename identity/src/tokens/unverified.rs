//! A parsed token. Nothing in it can be trusted yet.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Algorithm, TokenError, strict_json};

/// The longest token that is read, in bytes; checked before anything is decoded. Tokens with many
/// roles have some 4 KiB.
pub(super) const MAX_BYTES: usize = 16 * 1024;
const MAX_KEY_ID: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    pub claims: Map<String, Value>,
    /// The signed text: the first two parts.
    pub message: &'a str,
    /// Base64url.
    pub signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Parses a token, and refuses what no configuration could allow.
    ///
    /// # Errors
    /// `token_too_long`, `_malformed`, `_duplicate_names`, `_unsigned`, `_algorithm_refused`,
    /// `_critical_header`, `_type_refused`.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let Parts { header, claims, message, signature } = Parts::of(token)?;
        let name = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed)?;
        if name.eq_ignore_ascii_case("none") || signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        // `b64` changes what is signed (RFC 7797). It must be critical, and no critical extension
        // is supported.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenError::CriticalHeader);
        }
        let algorithm = name.parse().map_err(|_| TokenError::AlgorithmRefused)?;
        if !header.get("typ").is_none_or(is_login_type) {
            return Err(TokenError::TypeRefused);
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_KEY_ID => Some(id.clone()),
            Some(_) => return Err(TokenError::Malformed),
        };
        Ok(Self { algorithm, key_id, claims, message, signature })
    }
}

/// The three parts, decoded and not checked further.
pub(super) struct Parts<'a> {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub message: &'a str,
    pub signature: &'a str,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// The text is no token.
    pub fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) =
            message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(TokenError::Malformed)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        decode(signature)?;
        let (header, claims) = (strict_json::object(&decode(header)?)?, strict_json::object(&decode(claims)?)?);
        Ok(Self { header, claims, message, signature })
    }
}

/// Tokens of other kinds (logout tokens, proofs of possession, security events) say so in `typ`
/// (RFC 8725, 3.11).
fn is_login_type(value: &Value) -> bool {
    let Some(name) = value.as_str() else { return false };
    let name = name.to_ascii_lowercase();
    matches!(name.strip_prefix("application/").unwrap_or(&name), "jwt" | "at+jwt")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode(claims), encode(signature))
    }

    fn error(header: &str) -> Option<TokenError> {
        Unverified::parse(&token(header, "{}", "x")).err()
    }

    #[test]
    fn headers_that_nothing_allows_are_refused() {
        assert_eq!(error(r#"{"alg":"HS256","typ":"JWT","kid":"k"}"#), None);
        assert_eq!(error(r#"{"alg":"HS256","typ":"application/at+jwt"}"#), None);
        for (header, expected) in [
            (r#"{"alg":"none"}"#, TokenError::Unsigned),
            (r#"{"alg":"nOnE"}"#, TokenError::Unsigned),
            (r#"{"alg":"ES256K"}"#, TokenError::AlgorithmRefused),
            (r#"{"alg":"hs256"}"#, TokenError::AlgorithmRefused),
            (r#"{"alg":["HS256"]}"#, TokenError::Malformed),
            (r#"{}"#, TokenError::Malformed),
            (r#"{"alg":"HS256","alg":"none"}"#, TokenError::DuplicateNames),
            (r#"{"alg":"HS256","crit":["exp"]}"#, TokenError::CriticalHeader),
            (r#"{"alg":"HS256","crit":[]}"#, TokenError::CriticalHeader),
            (r#"{"alg":"HS256","b64":false}"#, TokenError::CriticalHeader),
            (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, TokenError::TypeRefused),
            (r#"{"alg":"HS256","typ":"logout+jwt"}"#, TokenError::TypeRefused),
            (r#"{"alg":"HS256","typ":1}"#, TokenError::TypeRefused),
            (r#"{"alg":"HS256","kid":1}"#, TokenError::Malformed),
            (r#"{"alg":"HS256","kid":""}"#, TokenError::Malformed),
        ] {
            assert_eq!(error(header), Some(expected), "{header}");
        }
    }

    #[test]
    fn the_form_is_judged_before_anything_else() {
        let good = token(r#"{"alg":"HS256"}"#, "{}", "x");
        let parts: Vec<&str> = good.split('.').collect();
        for bad in [
            String::new(),
            "..".into(),
            "a.b.c".into(),
            format!("{}.{}", parts[0], parts[1]),
            format!("{good}.x"),
            format!("{good}="),
            format!("{good}\n"),
            format!(" {good}"),
            good.replace('.', "+."),
            token(r#"{"alg":"HS256"}"#, "[]", "x"),
            // Another spelling of the same signature: the unused bits must be zero.
            format!("{}.{}.eB", parts[0], parts[1]),
        ] {
            assert_eq!(Unverified::parse(&bad).err(), Some(TokenError::Malformed), "{bad}");
        }
        assert_eq!(Unverified::parse(&format!("{}.{}.", parts[0], parts[1])).err(), Some(TokenError::Unsigned));
        assert_eq!(Unverified::parse(&"x".repeat(MAX_BYTES + 1)).err(), Some(TokenError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,100}", header in "\\PC{0,40}", claims in "\\PC{0,40}") {
            let _ = Unverified::parse(&text);
            let _ = Unverified::parse(&token(&header, &claims, "x"));
        }
    }
}
