//! JSON Web Tokens of issuers that the operator trusts: Supabase, Auth0, Keycloak and the like, or one's own.
//!
//! [`TokenVerifier::verify`] takes a token apart strictly, finds the issuer it claims, and from then on knows only what that
//! issuer is configured with: its keys, its algorithms, its audiences. A key knows the algorithms it may be used with, so that
//! nothing in a token can choose how it is checked. Signature first, claims after. Keys that are published (JWKS) are kept and
//! refetched by [`KeyRing`] through a [`KeySource`], which the servers implement.
//!
//! [`mint`] and [`inspect`] are for the command line. Not here: the session tokens and assertions of the bridge itself,
//! encrypted tokens (JWE), introspection of opaque tokens.

mod algorithm;
mod claims;
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
pub use claims::{ClaimPath, ClaimsMap, TokenIdentity};
pub use error::TokenError;
pub use inspect::{Inspection, Outcome, inspect};
pub use jwk::{JwksFault, PublishedKey, PublishedKeys};
pub use key_ring::{FileKeys, KeyRing, KeyRingSettings, KeySource, KeySourceFault, Spawn};
pub use mint::{MintClaims, MintError, MintKey, MintSettings, mint};
pub use settings::{IssuerSettings, Trust};
pub use verifier::TokenVerifier;
