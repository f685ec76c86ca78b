//! The edge as the host of dialects.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use actix::{Actor, Context, Handler};
use actix_web::HttpRequest;
use common::{
    assertion::{ClientIdentity, Login},
    audit::Event,
    backoff::Backoff,
    close::CloseCode,
    config::Settings,
    dialect::Dialect,
    error::{ClientError, ErrorCode},
    id::{SessionId, UserId},
    message::Speaker,
    secret::Secret,
};
use futures_util::{FutureExt, future::LocalBoxFuture};
use gateway::{
    dialects::{Caller, Guest, Host, Seat, SocketRules},
    doors::{SessionEntrance, Tuning},
};
use transport::{
    CloseMode, Link, LinkPolicy, RouteFamily, Tab, flow::FlowPolicy, link::LinkCounts, message::MessageLimits,
    operator::Operators,
};

use super::strangers::{StrangerPlace, Strangers};
use crate::{
    http::{BrokerApi, ClientAddress, Throttle},
    sessions::{Credentials, OpenSockets, Order, Session, SessionAuthority, SessionLogin, SocketTicket, Source},
};

/// How long a closing socket may take to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// How long the session of somebody with a dialect's key is valid. The key has no end of its own.
const KEY_SESSION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The parts of the edge that a host needs.
#[derive(Clone)]
pub struct Judges {
    /// Checks tokens.
    pub credentials: Arc<Credentials>,
    /// Knows what was revoked.
    pub authority: Arc<SessionAuthority>,
    /// The open sockets of sessions.
    pub sockets: Arc<OpenSockets>,
    /// The rates of addresses.
    pub throttle: Arc<Throttle>,
    /// For the audit log.
    pub broker: Arc<BrokerApi>,
    /// Knows operators.
    pub operators: Operators,
}

/// See the module. Shared by all threads.
pub struct DialectHost {
    entrance: SessionEntrance,
    tuning: Tuning,
    rules: SocketRules,
    judges: Judges,
    strangers: Arc<Strangers>,
    /// The secret and the leeway of tokens that name no issuer.
    unissued: (Secret, Duration),
    counts: HashMap<Dialect, Arc<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    refused: AtomicU64,
}

/// What a seat holds.
struct Place {
    stranger: Option<StrangerPlace>,
    ticket: Option<SocketTicket>,
    counts: Arc<Counts>,
    _share: Option<Tab>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Relaxed);
    }
}

/// A session that was recognised.
struct EdgeGuest {
    session: Session,
    judges: Judges,
}

/// Carries out the edge's orders for a session's socket.
struct LinkCloser(Arc<Link>);

impl DialectHost {
    /// The host with the rules of these settings. `entrance` leads to the broker.
    pub fn new(settings: &Settings, entrance: SessionEntrance, judges: Judges) -> Self {
        let (limits, heartbeat) = (&settings.limits, &settings.heartbeat);
        let policy = LinkPolicy {
            outbox_bytes: limits.outbox_bytes,
            flow: FlowPolicy { burst_ms: u64::MAX, share: 1.0 },
            slow_consumer_timeout: limits.slow_consumer_timeout,
            ping_interval: heartbeat.interval,
            silence_timeout: heartbeat.timeout,
            close_grace: CLOSE_GRACE,
            speaker: Speaker::Edge,
            counts: LinkCounts::default(),
        };
        let message_limits = MessageLimits { max_bytes: limits.client_frame_bytes(), max_fragments: limits.max_fragments };
        let backoff = Backoff { first: settings.web.reconnect_min, longest: settings.web.reconnect_max };
        Self {
            entrance,
            tuning: Tuning { backoff, ..Tuning::default() },
            rules: SocketRules { policy: Arc::new(policy), limits: message_limits, messages: settings.rates.session_messages },
            strangers: Strangers::new(limits),
            unissued: (settings.auth.jwt_secret.clone(), settings.auth.jwt_leeway),
            counts: Dialect::ALL.into_iter().map(|dialect| (dialect, Arc::default())).collect(),
            judges,
        }
    }

    /// The sockets without credentials.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// The sockets that a dialect has, and the credentials that it was shown and did not accept.
    pub fn counts(&self, dialect: Dialect) -> (u64, u64) {
        self.counts.get(&dialect).map_or((0, 0), |counts| (counts.open.load(Relaxed), counts.refused.load(Relaxed)))
    }

    fn guest_of(&self, session: Session) -> Box<dyn Guest> {
        Box::new(EdgeGuest { session, judges: self.judges.clone() })
    }
}

impl Host for DialectHost {
    fn entrance(&self) -> SessionEntrance {
        self.entrance.clone()
    }

    fn tuning(&self) -> Tuning {
        self.tuning.clone()
    }

    fn rules(&self) -> &SocketRules {
        &self.rules
    }

    fn seat(&self, dialect: Dialect, caller: &Caller, link: &Arc<Link>) -> Result<Seat, ClientError> {
        let share = self.judges.throttle.open_socket(ClientAddress(caller.address)).map_err(crate::http::Refusal::into_error)?;
        let stranger = Some(self.strangers.admit(caller.address, link)?);
        let counts = self.counts.get(&dialect).cloned().unwrap_or_default();
        counts.open.fetch_add(1, Relaxed);
        Ok(Seat::new(Place { stranger, ticket: None, counts, _share: share }))
    }

    fn recognise<'a>(&'a self, caller: &'a Caller, token: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Guest>, ClientError>> {
        let Judges { credentials, throttle, .. } = &self.judges;
        let address = ClientAddress(caller.address);
        async move {
            let recognised = credentials.recognise(token, || throttle.pay_for_check(None, address)).await;
            let session = recognised.map_err(|code| throttle.on_refused_token(address, code).into_error())?;
            Ok(self.guest_of(session))
        }
        .boxed_local()
    }

    fn recognise_unissued(&self, caller: &Caller, token: &str) -> Option<Result<Box<dyn Guest>, ClientError>> {
        let Judges { credentials, throttle, .. } = &self.judges;
        let address = ClientAddress(caller.address);
        let (secret, leeway) = &self.unissued;
        let recognised = credentials.recognise_unissued(token, secret, *leeway, || throttle.pay_for_check(None, address))?;
        let session = recognised.map_err(|code| throttle.on_refused_token(address, code).into_error());
        Some(session.map(|session| self.guest_of(session)))
    }

    fn check_observer(&self, request: &HttpRequest, caller: &Caller) -> Result<(), ClientError> {
        let rule = |request: &HttpRequest| self.judges.operators.check_observer(request);
        let checked = self.judges.throttle.check_operator(request, ClientAddress(caller.address), rule);
        checked.map_err(crate::http::Refusal::into_error)
    }

    fn check_administrator(&self, request: &HttpRequest, caller: &Caller) -> Result<(), ClientError> {
        let rule = |request: &HttpRequest| {
            // Without an operator's token there is no operator.
            self.judges.operators.check_administrator(request).map_err(|_| ErrorCode::Unauthorized)
        };
        let checked = self.judges.throttle.check_operator(request, ClientAddress(caller.address), rule);
        checked.map_err(crate::http::Refusal::into_error)
    }

    fn issue(&self, user: UserId) -> LocalBoxFuture<'_, Result<(String, SystemTime), ErrorCode>> {
        let login = SessionLogin { login: Login { user, wallet: None, scopes: Default::default() }, until: None };
        logged_in(&self.judges.authority, login).boxed_local()
    }

    fn weigh(&self, caller: &Caller, presented: &str, is_right: &mut dyn FnMut() -> bool) -> Result<(), ClientError> {
        self.judges.throttle.weigh_key(ClientAddress(caller.address), presented, || {
            if is_right() { Ok(()) } else { Err(ErrorCode::Unauthorized.into()) }
        })
    }

    fn guest(&self, user: UserId) -> Result<Box<dyn Guest>, ErrorCode> {
        let now = SystemTime::now();
        let end = now.checked_add(KEY_SESSION).ok_or(ErrorCode::Internal)?;
        let login = SessionLogin { login: Login { user, wallet: None, scopes: Default::default() }, until: None };
        let session = Session {
            login: Some(Arc::new(login)),
            source: Source::Edge,
            ..Session::anonymous(SessionId::fresh(), now, now, end)
        };
        Ok(self.guest_of(session))
    }

    fn take_request(&self, caller: &Caller) -> Result<(), ClientError> {
        self.judges.throttle.take(RouteFamily::Session, ClientAddress(caller.address)).map_err(crate::http::Refusal::into_error)
    }

    fn note_refusal(&self, dialect: Dialect, caller: &Caller, code: ErrorCode) {
        if let Some(counts) = self.counts.get(&dialect) {
            counts.refused.fetch_add(1, Relaxed);
        }
        let (address, broker) = (ClientAddress(caller.address), &self.judges.broker);
        if self.judges.throttle.take(RouteFamily::Refusal, address).is_ok() {
            let what = format!("dialect {}: {}", dialect.as_str(), code.as_str());
            broker.note(Event::Authentication, "", &what, address);
        } else {
            broker.pass_over();
        }
    }
}

/// The token of a new session with this login.
async fn logged_in(authority: &Arc<SessionAuthority>, login: SessionLogin) -> Result<(String, SystemTime), ErrorCode> {
    let (session, _) = authority.register()?;
    let (session, token, written) = authority.log_in(&session, login)?;
    written.await;
    Ok((token, session.expires_at))
}

impl Guest for EdgeGuest {
    fn later_token(&self) -> LocalBoxFuture<'_, Result<(String, SystemTime), ErrorCode>> {
        async move {
            match (&self.session.login, self.session.source) {
                (Some(login), Source::Issuer) => logged_in(&self.judges.authority, SessionLogin::clone(login)).await,
                _ => self.judges.authority.refresh(&self.session).map(|(session, token)| (token, session.expires_at)),
            }
        }
        .boxed_local()
    }

    fn user(&self) -> Option<&UserId> {
        self.session.login().map(|login| &login.user)
    }

    fn identity(&self, dialect: Dialect) -> ClientIdentity {
        ClientIdentity { dialect: Some(dialect), ..self.session.identity() }
    }

    fn enter(&self, dialect: Dialect, caller: &Caller, link: &Arc<Link>, seat: &mut Seat) -> Result<ClientIdentity, ClientError> {
        let place = seat.held::<Place>().ok_or(ErrorCode::Internal)?;
        let ticket = self.judges.sockets.admit_nameless(&self.session)?;
        // The session may have been revoked between the check and the admission.
        self.judges.authority.check(&self.session)?;
        ticket.attach(LinkCloser(Arc::clone(link)).start().recipient());
        let identity = ClientIdentity {
            socket_id: Some(ticket.socket_id()),
            ip: Some(caller.address.to_string()),
            user_agent: caller.user_agent.clone(),
            ..self.identity(dialect)
        };
        place.ticket = Some(ticket);
        place.stranger = None;
        Ok(identity)
    }
}

impl Actor for LinkCloser {
    type Context = Context<Self>;
}

impl Handler<Order> for LinkCloser {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        match order {
            Order::Hush => self.0.close(CloseCode::SESSION_ENDED, "the session was ended", CloseMode::Discard),
            Order::Close { code, reason } => self.0.close(code, reason, CloseMode::Flush),
            // Clients of dialects have no word for these.
            Order::AnnounceDrain { .. } | Order::AnnounceExpiry { .. } | Order::LogIn(..) => {}
        }
    }
}
