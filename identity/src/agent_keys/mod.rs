//! The keys that agents present: several, named, with scopes, expiry and revocation, hashed at
//! rest.
//!
//! A made key is `abk_<name>_<43 letters and digits>`: 256 random bits behind the name by which it
//! is looked up. Because of the random bits, one salted SHA-256 is enough: there is no dictionary
//! to try, and a slow hash would only let strangers use up our processors. Keys in the
//! configuration are kept in memory under a hash too, and each is compared in constant time. They
//! are as strong as their author made them.
//!
//! [`KeyFile`] is the file (`agent-keys.json` in the data folder) with the operations of the
//! command line. [`AgentKeys`] is what the broker asks at each handshake. This module closes no
//! sockets: [`AgentKeys::reload`] returns the keys whose sockets must be closed.

mod file;
mod glob;
mod keys;
mod record;
mod scopes;
mod table;

pub use file::{KeyFile, KeyFileError, NewKey};
pub use glob::{BadGlob, Glob};
pub use keys::AgentKeys;
pub use record::{KeyInfo, KeyState};
pub use scopes::Scopes;
pub use table::{Changes, ConfiguredKey, Grant};

use crate::refusal::refusals;

refusals! {
    /// All reasons for which an agent's key is refused.
    KeyError {
        Unknown = Unauthorized;
        Revoked = AgentKeyRevoked;
        Expired = AgentKeyExpired;
    }
}
