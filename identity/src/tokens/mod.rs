//! JSON Web Tokens of trusted issuers: Supabase, Auth0, Keycloak and the like, or the operator's
//! own.
//!
//! [`TokenVerifier::verify`] parses a token strictly and finds the issuer that it names. From then
//! on only that issuer's configuration counts: its keys, its algorithms, its audiences. A key knows
//! the algorithms that it may be used with, so that nothing in a token can choose how it is
//! checked. The signature is checked first, then the claims. Published keys (JWKS) are kept and
//! fetched again by [`KeyRing`] through a [`KeySource`], which the servers implement.
//!
//! [`mint`] and [`inspect`] are for the command line. Not here: the bridge's own session tokens and
//! assertions. Not supported: encrypted tokens (JWE), introspection of opaque tokens.

mod algorithm;
mod claims;
mod claims_map;
mod error;
mod inspect;
mod jwk;
mod key_ring;
mod mint;
mod settings;
mod strict_json;
mod unverified;
mod verifier;

pub use algorithm::Algorithm;
pub use claims::TokenIdentity;
pub use claims_map::{ClaimPath, ClaimsMap};
pub use error::TokenError;
pub use inspect::{Inspection, Outcome, inspect};
pub use jwk::{JwksFault, PublishedKey, PublishedKeys};
pub use key_ring::{FileKeys, KeyRing, KeyRingSettings, KeySource, KeySourceFault, Renewals, Spawn};
pub use mint::{MintClaims, MintError, MintKey, MintSettings, mint};
pub use settings::{IssuerSettings, Trust};
pub use verifier::{TokenVerifier, verify_unissued};
