//! The app's files: their source, the form that a client gets, and the HTTP around it.
//!
//! Owns everything between a request path and the bytes of a file. The source is a folder or the
//! copy built into the binary; one responder answers for both. Only the edge's default route calls
//! it. It does not list folders, watch them, or follow links out of the folder, and does not know
//! sessions.

mod asset;
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

pub use conditions::{BodyChoice, Conditions, Validators};
pub use library::{AssetError, Library};
pub use negotiation::{Accepted, Coding};
pub use path::{AssetPath, PathFault};
pub use responder::serve;
