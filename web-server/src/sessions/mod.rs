//! Browser sessions: who a client is, and that a client is who it says.
//!
//! A session is anonymous and lives in its token alone: a JWT that the edge signs and checks, in an HttpOnly cookie or as
//! a bearer token. Knowing a session's id is not owning it. The edge keeps two things besides: which sessions were ended
//! before their tokens expire ([`Revocations`]), and which sockets are open ([`OpenSockets`]). Both are in memory: after
//! a restart, tokens of sessions that were ended are good again until they expire.
//! Does not know users or roles.

mod authority;
mod cookie;
mod open_sockets;
mod owned;
mod revocations;
pub mod routes;
mod token;

pub use authority::SessionAuthority;
pub use cookie::{COOKIE, CookiePolicy};
pub use open_sockets::{Admission, OpenSockets, Order, SocketTicket};
pub use owned::{OwnedSession, Proof};
pub use revocations::Revocations;
pub use token::{Session, TokenFault, TokenKeys};
