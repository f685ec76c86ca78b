//! What all worker threads of one broker share, in parts. Code that needs one part takes that part,
//! not the whole.

use std::{net::IpAddr, sync::Arc};

use actix::{Addr, ArbiterHandle};
use common::{
    assertion::ClientIdentity,
    config::Settings,
    error::{ClientError, ErrorCode},
    message::{AnnouncedHeartbeat, AnnouncedLimits, MAX_ADDED_BYTES, SystemMessage},
    timestamp::millis,
};
use identity::{agent_keys::KeyFileError, policy::Policy};
use parking_lot::RwLock;
use store::{ChannelName, DeadLettered};
use tls::ServerTls;
use transport::LinkPolicy;

use crate::{
    admissions::{Admission, Admissions},
    answers::Answers,
    audit::AuditLog,
    authentication::Authentication,
    durable::{Acknowledged, Channels, Notice, Wish},
    http_rules::HttpRules,
    keys::Keys,
    lifecycle::Lifecycle,
    links::link_policy,
    peers::Peer,
    revocations::SharedRevocations,
    routing::{Counters, Router, RouterLimits, SeenAgent},
    side::Side,
    snapshot::Earlier,
    state::StateManagerActor,
    statistics::Statistics,
};

/// The shared state of one broker.
#[derive(Debug)]
pub struct Broker {
    /// Its settings.
    pub settings: Arc<Settings>,
    /// Whether it is ready.
    pub lifecycle: Arc<Lifecycle>,
    /// Who is connected and who subscribes to what.
    pub router: Arc<RwLock<Router>>,
    /// Durable messages.
    pub channels: Arc<Channels>,
    /// The limits on connections, and what each holder uses of them.
    pub admissions: Arc<Admissions>,
    /// The answers of requests over HTTP, for callers that repeat a request.
    pub answers: Arc<Answers>,
    /// Who may enter.
    pub authentication: Authentication,
    /// What is checked of every HTTP request.
    pub http: HttpRules,
    /// The rules of its connections.
    pub link_policy: Arc<LinkPolicy>,
    /// What the broker has carried and refused.
    pub statistics: Arc<Statistics>,
    /// The audit log.
    pub audit: Arc<AuditLog>,
    /// The actor that tracks its connections.
    pub state: Addr<StateManagerActor>,
}

impl Broker {
    /// The shared parts of a broker that is about to start. Its StateManagerActor runs on
    /// `state_thread`.
    pub fn new(
        settings: &Settings,
        keys: Keys,
        revocations: SharedRevocations,
        channels: Arc<Channels>,
        Earlier { lifetime, agents, new_agents }: Earlier,
        state_thread: &ArbiterHandle,
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
        // For other agents it is unknown what their keys will reach.
        let is_as_it_was = |agent: &SeenAgent| keys.reaches_just(&agent.key, agent.bounds.as_ref());
        router.restore_seen_agents(agents.into_iter().filter(&is_as_it_was), new_agents.into_iter().filter(&is_as_it_was));
        let (settings, router) = (Arc::new(settings.clone()), Arc::new(RwLock::new(router)));
        let (lifecycle, statistics) = (Arc::<Lifecycle>::default(), Arc::new(Statistics::new(lifetime)));
        let state =
            StateManagerActor::start(state_thread, &router, Arc::clone(channels.store()), &statistics, settings.drain.clone());
        Arc::new(Self {
            authentication: Authentication::new(&settings, keys, revocations),
            http: HttpRules::new(&settings, tls),
            link_policy: link_policy(&settings),
            audit: Arc::new(AuditLog::new(&settings.store)),
            answers: Arc::default(),
            admissions: Admissions::new(Arc::clone(&settings), Arc::clone(&lifecycle)),
            settings,
            lifecycle,
            router,
            channels,
            statistics,
            state,
        })
    }

    /// Reserves a place for an agent with this key.
    ///
    /// # Errors
    /// See [`Admissions::admit_agent`].
    pub fn admit_agent(&self, key: &str, address: IpAddr) -> Result<Admission, ErrorCode> {
        self.admissions.admit_agent(key, address)
    }

    /// Reserves a place for a connection of a session.
    ///
    /// # Errors
    /// See [`SharedRevocations::check`] and [`Admissions::admit_session`].
    pub fn admit_session(&self, identity: &ClientIdentity) -> Result<Admission, ErrorCode> {
        self.authentication.revocations.check(identity)?;
        self.admissions.admit_session(identity)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.admissions.connections()
    }

    /// Reads the file of agent keys again. Blocks on the disk.
    ///
    /// # Errors
    /// See [`Keys::reload`].
    pub fn reload_keys(&self) -> Result<(), KeyFileError> {
        self.authentication.keys.reload(&self.router, &self.audit)
    }

    /// Messages became dead letters: tells their senders that are connected now, and their
    /// receivers later.
    pub fn on_dead_letters(&self, dead: &[DeadLettered]) {
        for letter in dead {
            self.channels.note_death(&letter.channel);
            self.channels.free_places(&letter.channel, &[letter.seq]);
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
        self.router.read().tell(to, message, correlation_id);
    }

    /// A receiver has acknowledged messages: tells the senders that asked for receipts.
    pub fn on_acknowledged(&self, channel: &ChannelName, seqs: &[u64]) {
        for seq in seqs {
            if let Some(Wish { source, message_id }) = self.channels.receipts.forget(channel, *seq) {
                let message = SystemMessage::Acknowledged { channel: channel.to_string(), seq: *seq };
                self.tell_sender(channel, *seq, Notice { to: source, correlation_id: message_id, message });
            }
        }
    }

    /// The same, for several inboxes.
    pub fn on_all_acknowledged(&self, acked: &Acknowledged) {
        acked.iter().for_each(|(channel, seqs)| self.on_acknowledged(channel, seqs));
    }

    /// A message is delivered, perhaps for the first time: tells its sender once, if the sender
    /// asked for a receipt.
    pub fn on_delivery(&self, channel: &ChannelName, seq: u64) {
        if let Some(Wish { source, message_id }) = self.channels.receipts.delivered(channel, seq) {
            let message = SystemMessage::Delivered { channel: channel.to_string(), seq };
            self.tell_sender(channel, seq, Notice { to: source, correlation_id: message_id, message });
        }
    }

    /// Sends a peer an error. `sent`: the message that it is about.
    pub fn refuse(&self, counters: &Counters, peer: &Peer, error: ClientError, id: Option<&str>, sent: Option<&str>) {
        counters.errors.count(error.code);
        self.audit.note_refusal(Some(peer), None, &error, sent);
        peer.answer(&SystemMessage::Error(error), id);
    }

    /// The largest frame that this side may send, in bytes.
    pub fn max_frame_bytes(&self, side: Side) -> usize {
        match side {
            Side::Agent => self.settings.limits.max_frame_bytes,
            Side::Session => self.settings.limits.client_frame_bytes(),
        }
    }

    /// The limits that are announced to a peer of this side.
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

    /// The heartbeat that is announced to a peer.
    pub fn announced_heartbeat(&self) -> AnnouncedHeartbeat {
        AnnouncedHeartbeat {
            interval_ms: millis(self.settings.heartbeat.interval),
            timeout_ms: millis(self.settings.heartbeat.timeout),
        }
    }
}
