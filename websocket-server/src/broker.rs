//! The state that all worker threads of one broker share.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{
            AtomicU8, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use actix::Addr;
use common::{
    address::Address,
    assertion::ClientIdentity,
    config::Settings,
    error::ErrorCode,
    id::UserId,
    message::{AnnouncedHeartbeat, AnnouncedLimits, MAX_ADDED_BYTES, Speaker, SystemMessage},
    network::counted,
};
use identity::{limits::SharedPenalties, policy::Policy};
use parking_lot::{Mutex, RwLock};
use store::{ChannelName, DeadLettered};
use tls::ServerTls;
use tokio::sync::watch;
use transport::{
    Account, Accounts, Frame, Gate, GateRules, HostRule, HttpFaults, HttpRates, Lane, LinkPolicy, OriginRule, Payers, Tab,
    client_address::TrustedProxies, flow::FlowPolicy, link::LinkCounts, operator::Operators,
};

use crate::{
    actors::{Side, StateManagerActor},
    audit::Audit,
    durable::{Channels, Notice},
    holders::Holder,
    http::refused_edges::RefusedEdges,
    keys::Keys,
    revocations::SharedRevocations,
    routing::{Counters, ErrorCounts, Router, RouterLimits, SeenAgent, hash},
    snapshot::Lifetime,
};

/// How long a closing connection may take to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Whether the broker accepts new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No longer.
    Draining,
}

/// The shared state of one broker.
#[derive(Debug)]
pub struct Broker {
    /// Its settings.
    pub settings: Settings,
    /// The routing tables.
    pub router: RwLock<Router>,
    /// Durable messages.
    pub channels: Arc<Channels>,
    /// The audit log.
    pub audit: Audit,
    /// What was carried in earlier lives.
    pub before: Lifetime,
    /// The keys of agents.
    pub keys: Keys,
    /// The revocations of the edges.
    pub revocations: SharedRevocations,
    /// Bounds connections that are not a WebSocket yet.
    pub gate: Arc<Gate>,
    /// Faults of clients over HTTP that no handler sees.
    pub http_faults: Arc<HttpFaults>,
    /// The proxies that are believed about a client's address.
    pub proxies: TrustedProxies,
    /// The rates of an address over HTTP.
    pub http_rates: HttpRates,
    /// Checks who is an operator.
    pub operators: Operators,
    /// The origins whose pages may open sockets.
    pub origins: OriginRule,
    /// The names under which it answers.
    pub hosts: HostRule,
    /// Addresses that presented wrong agent keys.
    pub penalties: SharedPenalties,
    /// Addresses that presented wrong operator tokens. Separate from keys: a valid key must not
    /// take back a guess at the token.
    pub guessed_tokens: SharedPenalties,
    /// Edges whose assertions were refused.
    pub refused_edges: RefusedEdges,
    /// The accounts of all holders.
    pub accounts: Accounts<Holder>,
    /// The rules of its connections.
    pub link_policy: Arc<LinkPolicy>,
    /// The actor that tracks its connections.
    pub state: Addr<StateManagerActor>,
    /// When it started.
    pub started: Instant,
    readiness: AtomicU8,
    connections: AtomicUsize,
    shards: Mutex<Vec<Arc<Counters>>>,
    router_died: watch::Sender<bool>,
    /// TLS of the listener.
    pub tls: Option<Arc<ServerTls>>,
    /// Connections refused over HTTP, by code.
    pub refusals: ErrorCounts,
}

impl Broker {
    /// The shared state of a broker that is about to start.
    pub fn new(
        settings: &Settings,
        keys: Keys,
        revocations: SharedRevocations,
        channels: Arc<Channels>,
        (before, seen_agents): (Lifetime, Vec<SeenAgent>),
        state: Addr<StateManagerActor>,
        tls: Option<Arc<ServerTls>>,
    ) -> Arc<Self> {
        let limits = &settings.limits;
        let mut router = Router::new(
            RouterLimits {
                max_subscriptions: limits.max_subscriptions,
                max_requests: limits.max_pending_requests,
                answers: settings.rates.answers,
            },
            Policy::of(&settings.access),
        );
        let certified = tls.as_ref().map(|tls| tls.certified_names()).unwrap_or_default();
        // For other agents it is unknown what their keys will reach.
        let is_as_it_was = |agent: &SeenAgent| keys.bounds_of(&agent.key).is_some_and(|bounds| bounds == agent.bounds);
        router.restore_seen_agents(seen_agents.into_iter().filter(is_as_it_was));
        Arc::new(Self {
            settings: settings.clone(),
            router: RwLock::new(router),
            audit: Audit::new(settings.store.audit),
            before,
            channels,
            keys,
            revocations,
            gate: Gate::new(GateRules::of(settings, settings.proxies.broker_protocol)),
            http_faults: Arc::default(),
            proxies: TrustedProxies::of(&settings.proxies),
            http_rates: HttpRates::of(settings),
            operators: Operators::new(
                &settings.broker.operator_token,
                settings.broker.addr,
                &settings.proxies,
                settings.proxies.broker_protocol,
            ),
            origins: OriginRule::new(&settings.web.allowed_origins, TrustedProxies::of(&settings.proxies)),
            hosts: HostRule::new(
                settings.broker.hosts.iter().chain(&certified).map(String::as_str).chain(settings.public_hosts()),
            ),
            penalties: SharedPenalties::of(limits),
            guessed_tokens: SharedPenalties::of(limits),
            refused_edges: RefusedEdges::default(),
            accounts: Accounts::default(),
            link_policy: link_policy(settings),
            state,
            started: Instant::now(),
            readiness: AtomicU8::new(Readiness::Starting as u8),
            connections: AtomicUsize::new(0),
            shards: Mutex::new(Vec::new()),
            router_died: watch::Sender::new(false),
            tls,
            refusals: ErrorCounts::default(),
        })
    }

    /// Whether it accepts new connections.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(SeqCst) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    /// Sets whether it accepts new connections.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.readiness.store(readiness as u8, SeqCst);
    }

    /// Takes a place for one more connection, on the accounts of these holders. `group`: with whom
    /// it shares its turns.
    ///
    /// # Errors
    /// `not_ready` while starting or draining, `at_capacity` at the bound of connections,
    /// `too_many_connections` of a holder.
    fn admit(self: &Arc<Self>, holders: impl Iterator<Item = Holder>, group: Option<u64>) -> Result<Admission, ErrorCode> {
        if self.readiness() != Readiness::Ready {
            return Err(ErrorCode::NotReady);
        }
        self.connections.fetch_add(1, Relaxed);
        let mut admission = Admission { broker: Arc::clone(self), tabs: Vec::new(), payers: Arc::default(), has_user: false };
        for holder in std::iter::once(Holder::Everybody).chain(holders) {
            admission.open(holder)?;
        }
        admission.payers = Payers::new(admission.tabs.iter(), group);
        Ok(admission)
    }

    /// Takes a place for an agent with this key.
    ///
    /// # Errors
    /// See [`Broker::admit`].
    pub fn admit_agent(self: &Arc<Self>, key: &str, address: IpAddr) -> Result<Admission, ErrorCode> {
        let address = self.counted(address).map(Holder::AddressOfAgents);
        self.admit(std::iter::once(Holder::Key(key.to_owned())).chain(address), None)
    }

    /// Takes a place for a session.
    ///
    /// # Errors
    /// See [`Broker::admit`] and [`SharedRevocations::check`].
    pub fn admit_session(self: &Arc<Self>, identity: &ClientIdentity) -> Result<Admission, ErrorCode> {
        self.revocations.check(identity)?;
        let address = identity.ip.as_deref().and_then(|ip| ip.parse().ok()).and_then(|ip| self.counted(ip));
        let user = identity.user_id().cloned().map(Holder::User);
        let own = [Holder::Sessions, Holder::Session(identity.session_id)];
        // Many sessions of one address take turns as one sender.
        self.admit(own.into_iter().chain(user).chain(address.map(Holder::AddressOfSessions)), address.map(hash))
    }

    /// What an address counts as; `None` if it is not counted.
    fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        counted(address, &self.settings.limits.exempt_networks)
    }

    /// The account of a holder.
    pub fn account(&self, holder: Holder) -> Arc<Account> {
        let allowance = holder.allowance(&self.settings);
        self.accounts.account(holder, allowance)
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The counters of every shard.
    pub fn shards(&self) -> Vec<Arc<Counters>> {
        self.shards.lock().clone()
    }

    /// Adds the counters of one more shard.
    pub fn add_shard(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.shards.lock().push(Arc::clone(&counters));
        counters
    }

    /// Messages became dead letters: tells their senders, if they are connected, and makes sure
    /// that their receivers will be told.
    pub fn on_dead_letters(&self, dead: &[DeadLettered]) {
        for letter in dead {
            self.channels.note_death(&letter.channel);
            self.channels.receipts.forget(&letter.channel, letter.seq);
            let (channel, seq, reason) = (letter.channel.to_string(), letter.seq, letter.reason.as_str());
            let message = SystemMessage::Expired { channel, seq, reason };
            let notice = Notice { to: letter.source.clone(), correlation_id: letter.message_id.clone(), message };
            self.tell_sender(&letter.channel, letter.seq, notice);
        }
    }

    /// Tells the sender of a message something about it, if it is connected: at once, or when it
    /// knows that the message is stored.
    pub(crate) fn tell_sender(&self, channel: &ChannelName, seq: u64, notice: Notice) {
        if let Some(notice) = self.channels.hold(channel, seq, notice) {
            self.send_notice(&notice);
        }
    }

    pub(crate) fn send_notice(&self, Notice { to, correlation_id, message }: &Notice) {
        self.tell_address(to, message, correlation_id);
    }

    /// Sends a message of the bridge to every connection at an address, ahead of the data that
    /// waits.
    pub fn tell_address(&self, address: &str, message: &SystemMessage, correlation_id: &str) {
        let Ok(target) = Address::parse(address) else { return };
        let peers = self.router.read().peers_at(&target);
        if !peers.is_empty() {
            let frame = Frame::text(&message.encode(Speaker::Bridge, Some(address), Some(correlation_id)));
            for peer in &peers {
                peer.link.send(Lane::Control, frame.clone());
            }
        }
    }

    /// A router has died outside a shutdown: the process must end.
    pub fn report_router_death(&self) {
        if self.readiness() != Readiness::Draining {
            tracing::error!("a router died");
            let _ = self.router_died.send(true);
        }
    }

    /// Reports when a router has died.
    pub fn watch_routers(&self) -> watch::Receiver<bool> {
        self.router_died.subscribe()
    }

    /// The longest frame from this side, in bytes.
    pub fn max_frame_bytes(&self, side: Side) -> usize {
        match side {
            Side::Agent => self.settings.limits.max_frame_bytes,
            Side::Session => self.settings.limits.client_frame_bytes(),
        }
    }

    /// The limits for a peer of this side.
    pub fn announced_limits(&self, side: Side) -> AnnouncedLimits {
        let limits = &self.settings.limits;
        AnnouncedLimits {
            max_frame_bytes: self.max_frame_bytes(side),
            max_receive_bytes: limits.max_frame_bytes.max(limits.client_frame_bytes()) + MAX_ADDED_BYTES,
            max_fragments: limits.max_fragments,
            max_depth: limits.max_depth,
            outbox_bytes: limits.outbox_bytes,
            max_subscriptions: limits.max_subscriptions,
            max_pending_requests: limits.max_pending_requests,
        }
    }

    /// The heartbeat for a peer.
    pub fn announced_heartbeat(&self) -> AnnouncedHeartbeat {
        AnnouncedHeartbeat {
            interval_ms: millis(self.settings.heartbeat.interval),
            timeout_ms: millis(self.settings.heartbeat.timeout),
        }
    }
}

/// A connection's place among all connections. Dropping it gives it back.
#[derive(Debug)]
pub struct Admission {
    broker: Arc<Broker>,
    /// The first are those of [`Holder::Everybody`] and, for a session, of [`Holder::Sessions`].
    tabs: Vec<Tab>,
    payers: Arc<Payers>,
    has_user: bool,
}

impl Admission {
    /// The broker that admitted it.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Who pays for the connection's entries in shared tables.
    pub fn payers(&self) -> &Arc<Payers> {
        &self.payers
    }

    fn open(&mut self, holder: Holder) -> Result<(), ErrorCode> {
        let allowance = holder.allowance(&self.broker.settings);
        self.has_user |= matches!(holder, Holder::User(_));
        let refusal = if holder.is_collective() { ErrorCode::AtCapacity } else { ErrorCode::TooManyConnections };
        self.tabs.push(self.broker.accounts.open(holder, allowance).map_err(|_| refusal)?);
        Ok(())
    }

    /// The session has logged in: its user pays too, from the next counted frame on.
    ///
    /// # Errors
    /// `too_many_connections` of the user.
    pub fn join(&mut self, user: &UserId) -> Result<(), ErrorCode> {
        if self.has_user {
            return Ok(());
        }
        self.open(Holder::User(user.clone()))?;
        if let Some(tab) = self.tabs.last() {
            self.payers.join(tab);
        }
        Ok(())
    }

    /// Whether frames are charged at all.
    pub fn is_metered(&self) -> bool {
        self.tabs.iter().any(Tab::is_metered)
    }

    /// Charges a frame of so many bytes. Returns how long to read nothing.
    pub fn charge(&self, bytes: usize, now_ms: u64) -> Duration {
        self.tabs.iter().map(|tab| tab.charge(bytes, now_ms)).max().unwrap_or_default()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.broker.connections.fetch_sub(1, Relaxed);
    }
}

/// The rules of a broker's connections.
pub(crate) fn link_policy(settings: &Settings) -> Arc<LinkPolicy> {
    let limits = &settings.limits;
    Arc::new(LinkPolicy {
        outbox_bytes: limits.outbox_bytes,
        flow: FlowPolicy { burst_ms: millis(limits.flow_control_burst), share: limits.flow_control_share },
        slow_consumer_timeout: limits.slow_consumer_timeout,
        ping_interval: settings.heartbeat.interval,
        silence_timeout: settings.heartbeat.timeout,
        close_grace: CLOSE_GRACE,
        speaker: Speaker::Bridge,
        counts: LinkCounts::default(),
    })
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
