//! Who may speak: the parts of identity that need neither a socket, a clock nor a runtime.
//!
//! - [`siwe`]: Sign-In with Ethereum (EIP-4361), challenge and verification.
//! - [`tokens`]: JSON Web Tokens of others' issuers, by secret or by published keys.
//! - [`agent_keys`]: the named keys of agent runtimes, hashed at rest.
//! - [`limits`]: what failed logins cost.
//! - [`revocations`]: sessions' credentials that are good no longer.
//! - [`policy`]: who may do what, in one place.
//!
//! Times are handed in. What must ask another server (a node's `eth_call`, an issuer's key set) is a trait that the servers
//! implement. Every refusal is a [`Refusal`]: a row of the one table of errors.

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
