//! The dialect `hybrid`: one user's web app, browser extension and local programs, kept in step
//! over `/ws` and `/api/v1`. docs/dialects.md describes it for users.
//!
//! | part | pure | does |
//! |---|---|---|
//! | [`frames`] | yes | the codec: messages, and who gets them |
//! | [`session`] | yes | settings and the active task, made from the messages |
//! | [`damping`] | yes | finds the messages that answer others |
//! | `log` | | a user's topics at the broker |
//! | `presence` | | the sockets of this process |
//! | `conversation` | | one client's socket |
//! | `rest` | | requests over HTTP |
//!
//! Everything that lasts is in topics below `user/<name>/hybrid`, which belong to the user. A
//! client of the native protocol that has logged in as the user may read them, and publish
//! `hybrid:message` there.

mod conversation;
pub mod damping;
pub mod frames;
mod log;
mod presence;
mod program;
mod rest;
mod routes;
pub mod session;

pub use program::Hybrid;
