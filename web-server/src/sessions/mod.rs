//! Browser sessions: who a client is, and the proof of it.
//!
//! A session lives in its token alone: a JWT that the edge signs and checks, in an HttpOnly cookie
//! or as a bearer token. The token also says who is logged in. Knowing a session's id gives no
//! access to it. The edge keeps two things besides. First, revoked tokens
//! ([`identity::revocations`]): stored on the disk, and shared with the other edges through the
//! broker ([`sharing`]). Second, the open sockets ([`OpenSockets`]). [`crate::logins`] does the
//! logins.

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
pub use open_sockets::{OpenSockets, Order, SocketLimits, SocketTicket};
pub use owned::{CallingSession, LoginStep, OwnedSession, PacedSession, Proof, presented};
pub use token::{Session, SessionLogin, Source, TokenFault, TokenKeys};
