//! The app's files: where they come from, which form of one a client gets, and the HTTP around it.
//!
//! Owns everything between a request path and the bytes of a file. A folder or the copy built into the binary is the
//! source; both answer through one responder. Called by the edge's default route only. Does not list folders, does not
//! watch them, does not follow links out of the folder, and does not know sessions.

mod cache;
mod compression;
mod conditions;
mod folder;
mod library;
mod names;
mod negotiation;
mod path;
mod responder;
mod source;

pub use conditions::{Conditions, Validators, Verdict};
pub use library::{AssetError, Library};
pub use negotiation::{Accepted, Coding};
pub use path::{AssetPath, PathFault};
pub use responder::serve;
