//! The keys that agent runtimes present: several, named, with scopes, expiry and revocation, hashed at rest.
//!
//! A key made here is `abk_<name>_<43 letters and digits>`: 256 bits of chance behind the name it is looked up by. Because of
//! that chance a single SHA-256 with a salt is all that is kept and all that is needed: there is no dictionary to try, and a
//! slow hash would only let strangers burn our processors. Keys that people chose and wrote into the configuration are kept
//! in memory under a hash too and compared with every other one in constant time; they are as strong as they were chosen.
//!
//! [`KeyFile`] is the file (`agent-keys.json` in the data folder) and what the command line does with it; [`AgentKeys`] is
//! what the broker asks at each handshake. Does not close sockets: [`AgentKeys::reload`] says whose are to be closed.

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
    /// Every way in which an agent's key is refused.
    KeyError {
        Unknown = Unauthorized;
        Revoked = AgentKeyRevoked;
        Expired = AgentKeyExpired;
    }
}
