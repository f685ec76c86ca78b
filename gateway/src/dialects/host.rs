//! What a dialect needs of the process that hosts it, and what the host needs of a dialect.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use actix_web::{HttpRequest, web};
use common::{
    assertion::ClientIdentity,
    dialect::Dialect,
    error::{ClientError, ErrorCode},
    id::UserId,
    rate::Rate,
    secret::Secret,
};
use futures_util::future::LocalBoxFuture;
use transport::{Link, LinkPolicy, message::MessageLimits};

use super::caller::Caller;
use crate::doors::{SessionEntrance, Tuning};

/// A dialect, as its host sees it. Shared by the worker threads of its listener.
pub trait Program: Send + Sync + 'static {
    /// Its name.
    fn dialect(&self) -> Dialect;

    /// Adds its routes, once on each worker thread.
    fn configure(self: Arc<Self>, routes: &mut web::ServiceConfig);
}

/// The host of dialects: the edge. Shared by all threads.
///
/// Credentials are judged here and nowhere else, so a dialect cannot admit anybody whom the edge
/// would not.
pub trait Host: Send + Sync + 'static {
    /// The way to the broker, for sessions.
    fn entrance(&self) -> SessionEntrance;

    /// The options of every door.
    fn tuning(&self) -> Tuning;

    /// The rules of every socket.
    fn rules(&self) -> &SocketRules;

    /// Takes a place for a connection of which only the address is known. Places have a bound, and
    /// each address has a share of them. The host closes `link` when it drains.
    ///
    /// # Errors
    /// `not_ready` while the edge drains, `at_capacity`, `too_many_connections`.
    fn seat(&self, dialect: Dialect, caller: &Caller, link: &Arc<Link>) -> Result<Seat, ClientError>;

    /// Checks a token of a session, of the edge or of a trusted issuer.
    fn recognise<'a>(&'a self, caller: &'a Caller, token: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Guest>, ClientError>>;

    /// Checks a token that names no issuer and was signed with the issuer's secret. `None`: it is
    /// not one of these, or there is no such secret. Only for dialects whose clients have no other
    /// tokens.
    fn recognise_unissued(&self, caller: &Caller, token: &str) -> Option<Result<Box<dyn Guest>, ClientError>>;

    /// Checks that a request may see statistics.
    ///
    /// # Errors
    /// `unauthorized`, `too_many_failures`.
    fn check_observer(&self, request: &HttpRequest, caller: &Caller) -> Result<(), ClientError>;

    /// Checks that a request comes from an operator.
    ///
    /// # Errors
    /// `unauthorized`, `too_many_failures`.
    fn check_administrator(&self, request: &HttpRequest, caller: &Caller) -> Result<(), ClientError>;

    /// A token for a new session of a user, and when it expires. Only for those who may speak for
    /// the user.
    fn issue(&self, user: UserId) -> LocalBoxFuture<'_, Result<(String, SystemTime), ErrorCode>>;

    /// Checks a shared secret that a caller has presented. A wrong one costs the caller's address a
    /// wait that grows.
    ///
    /// # Errors
    /// `unauthorized`, `too_many_failures`.
    fn check_key(&self, caller: &Caller, presented: &str, key: &Secret) -> Result<(), ClientError> {
        self.weigh(caller, presented, &mut || key.matches(presented))
    }

    /// The same with a proof that `is_right` judges.
    ///
    /// # Errors
    /// Those of [`Host::check_key`].
    fn weigh(&self, caller: &Caller, presented: &str, is_right: &mut dyn FnMut() -> bool) -> Result<(), ClientError>;

    /// A new session of one of the dialects' own users ([`common::dialect::USER_PREFIX`]), for
    /// somebody whose key was checked.
    ///
    /// # Errors
    /// `internal`.
    fn guest(&self, user: UserId) -> Result<Box<dyn Guest>, ErrorCode>;

    /// Counts a request over HTTP that proves no session.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    fn take_request(&self, caller: &Caller) -> Result<(), ClientError>;

    /// Records in the audit log that a caller was refused on a socket. Refusals over HTTP are
    /// recorded by themselves.
    fn note_refusal(&self, dialect: Dialect, caller: &Caller, code: ErrorCode);
}

/// A session whose credentials were checked.
pub trait Guest {
    /// Its user, if it has one.
    fn user(&self) -> Option<&UserId>;

    /// The identity of a connection of the session that has no client socket, such as one for
    /// requests over HTTP.
    fn identity(&self, dialect: Dialect) -> ClientIdentity;

    /// A token of this session's user that is valid for as long as possible: no longer than the
    /// login itself.
    fn later_token(&self) -> LocalBoxFuture<'_, Result<(String, SystemTime), ErrorCode>>;

    /// Makes a seat that of a connection of this session, and returns the connection's identity.
    /// The host closes `link` when the session ends, when its credentials expire, and when it
    /// drains.
    ///
    /// # Errors
    /// `not_ready`, `at_capacity`, `too_many_connections`, and those of credentials that were
    /// revoked meanwhile. The seat is then as it was.
    fn enter(&self, dialect: Dialect, caller: &Caller, link: &Arc<Link>, seat: &mut Seat) -> Result<ClientIdentity, ClientError>;
}

/// A connection's place at its host. Dropping it gives it back.
pub struct Seat(Box<dyn Any>);

impl Seat {
    /// A place that dropping `held` gives back.
    pub fn new(held: impl Any) -> Self {
        Self(Box::new(held))
    }

    /// What the host holds for the place.
    pub fn held<T: Any>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seat")
    }
}

/// The rules of clients' sockets.
#[derive(Clone, Debug)]
pub struct SocketRules {
    /// Outbox, heartbeat and slow readers.
    pub policy: Arc<LinkPolicy>,
    /// The longest message.
    pub limits: MessageLimits,
    /// Messages of one socket in a second. A socket above this is not read for a while.
    pub messages: Rate,
}
