//! Browser sessions: who a client is, and that a client is who it says.
//!
//! A session lives in its token alone: a JWT that the edge signs and checks, in an HttpOnly cookie or as a bearer token; who
//! is logged in to it is in the token too. Knowing a session's id is not owning it. The edge keeps two things besides: which
//! tokens are good no longer before they expire ([`identity::revocations`]; written down, so that they outlive the process, and shared with
//! the other edges through the broker: [`sharing`]), and which sockets are open ([`OpenSockets`]). Logging in is [`crate::logins`]' part.

mod authority;
mod cookie;
mod credentials;
mod open_sockets;
mod owned;
pub mod routes;
pub mod sharing;
mod token;

pub use authority::SessionAuthority;
pub use cookie::{COOKIE, CookiePolicy, SECURE_COOKIE};
pub use credentials::Credentials;
pub use open_sockets::{Admission, OpenSockets, Order, SocketTicket};
pub use owned::{LoginStep, OwnedSession, PacedSession, Proof, presented};
pub use token::{Session, SessionLogin, Source, TokenFault, TokenKeys};
