//! Authentication and authorization: the parts that need no socket, clock or async runtime.
//!
//! - [`siwe`]: Sign-In with Ethereum (EIP-4361), challenge and verification.
//! - [`tokens`]: JSON Web Tokens of external issuers, verified with a shared secret or published
//!   keys.
//! - [`agent_keys`]: the named keys of agent runtimes, hashed at rest.
//! - [`limits`]: growing waits after failed logins.
//! - [`revocations`]: revoked session credentials.
//! - [`policy`]: all authorization rules.
//!
//! Callers pass in the current time. Queries to other servers (a node's `eth_call`, an issuer's key
//! set) are traits that the broker and the edge implement. Every refusal implements [`Refusal`],
//! which maps it to a row of the error table.

pub mod agent_keys;
mod encoding;
pub mod limits;
pub mod policy;
mod refusal;
pub mod revocations;
pub mod siwe;
pub mod tokens;

pub use encoding::{escape_name, unescape_name};
pub use refusal::Refusal;
