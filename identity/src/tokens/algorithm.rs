//! The algorithms of tokens, and the kind of key that each needs.

use std::{fmt, str::FromStr};

use jsonwebtoken::Algorithm as Inner;

/// The kind of a key. Each algorithm needs one kind, so that a public key is never used as a
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

macro_rules! algorithms {
    ($($variant:ident $name:literal $kind:ident $doc:literal;)*) => {
        /// A signature algorithm (RFC 7518, RFC 8037). `none` is not one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Algorithm {
            $(#[doc = $doc] $variant,)*
        }

        impl Algorithm {
            /// All algorithms.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in headers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(super) const fn kind(self) -> KeyKind {
                match self { $(Self::$variant => KeyKind::$kind,)* }
            }

            pub(super) const fn inner(self) -> Inner {
                match self { $(Self::$variant => Inner::$variant,)* }
            }
        }
    };
}

algorithms! {
    HS256 "HS256" Secret "HMAC with SHA-256.";
    HS384 "HS384" Secret "HMAC with SHA-384.";
    HS512 "HS512" Secret "HMAC with SHA-512.";
    RS256 "RS256" Rsa "RSASSA-PKCS1-v1_5 with SHA-256.";
    RS384 "RS384" Rsa "RSASSA-PKCS1-v1_5 with SHA-384.";
    RS512 "RS512" Rsa "RSASSA-PKCS1-v1_5 with SHA-512.";
    PS256 "PS256" Rsa "RSASSA-PSS with SHA-256.";
    PS384 "PS384" Rsa "RSASSA-PSS with SHA-384.";
    PS512 "PS512" Rsa "RSASSA-PSS with SHA-512.";
    ES256 "ES256" P256 "ECDSA on P-256 with SHA-256.";
    ES384 "ES384" P384 "ECDSA on P-384 with SHA-384.";
    EdDSA "EdDSA" Ed25519 "Ed25519.";
}

impl Algorithm {
    /// Whether it needs a shared secret.
    pub const fn is_symmetric(self) -> bool {
        matches!(self.kind(), KeyKind::Secret)
    }
}

/// The algorithm is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        // RFC 9864 has its own name for EdDSA on this curve.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == name).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
            assert!(algorithm.as_str().to_ascii_lowercase().parse::<Algorithm>().is_err());
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        for name in ["none", "None", "NONE", "", "ES512", "ES256K", "HS256 ", "Ed448"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
