//! What all worker threads of one broker share.

use std::{
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
    config::Settings,
    error::ErrorCode,
    message::{AnnouncedHeartbeat, AnnouncedLimits, Speaker, SystemMessage},
};
use parking_lot::{Mutex, RwLock};
use store::DeadLettered;
use tokio::sync::watch;
use transport::{Frame, Lane, LinkPolicy, flow::FlowPolicy, link::LinkCounts};

use crate::{
    actors::StateManagerActor,
    durable::Inboxes,
    keys::Keys,
    routing::{Counters, ErrorCounts, Router, RouterLimits},
};

/// How long a closing connection may take to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Whether the broker takes new connections.
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

/// The shared parts of one broker.
#[derive(Debug)]
pub struct Broker {
    /// What it was told.
    pub settings: Settings,
    /// Who is there and who listens to what.
    pub router: RwLock<Router>,
    /// Durable messages.
    pub inboxes: Arc<Inboxes>,
    /// The keys of agents.
    pub keys: Keys,
    /// The rules of its connections.
    pub link_policy: Arc<LinkPolicy>,
    /// Tracks its connections.
    pub state: Addr<StateManagerActor>,
    /// When it started.
    pub started: Instant,
    readiness: AtomicU8,
    connections: AtomicUsize,
    shards: Mutex<Vec<Arc<Counters>>>,
    router_died: watch::Sender<bool>,
    /// Connections refused over HTTP, by code.
    pub refusals: ErrorCounts,
}

impl Broker {
    /// The shared parts of a broker that is about to start.
    pub fn new(settings: &Settings, keys: Keys, inboxes: Arc<Inboxes>, state: Addr<StateManagerActor>) -> Arc<Self> {
        let limits = &settings.limits;
        let router = Router::new(RouterLimits {
            max_subscriptions: limits.max_subscriptions,
            max_topics: limits.max_topics,
            max_requests: limits.max_pending_requests,
        });
        Arc::new(Self {
            settings: settings.clone(),
            router: RwLock::new(router),
            inboxes,
            keys,
            link_policy: link_policy(settings),
            state,
            started: Instant::now(),
            readiness: AtomicU8::new(Readiness::Starting as u8),
            connections: AtomicUsize::new(0),
            shards: Mutex::new(Vec::new()),
            router_died: watch::Sender::new(false),
            refusals: ErrorCounts::default(),
        })
    }

    /// Whether it takes new connections.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(SeqCst) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    /// Changes whether it takes new connections.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.readiness.store(readiness as u8, SeqCst);
    }

    /// Takes a place for one more connection.
    ///
    /// # Errors
    /// `not_ready` while starting or draining, `at_capacity` when there are as many as may be.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, ErrorCode> {
        if self.readiness() != Readiness::Ready {
            return Err(ErrorCode::NotReady);
        }
        let admission = Admission(Arc::clone(self));
        if self.connections.fetch_add(1, Relaxed) >= self.settings.limits.max_connections {
            return Err(ErrorCode::AtCapacity);
        }
        Ok(admission)
    }

    /// Connections there are.
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

    /// Says to the senders of dead letters, where they are connected, what became of their messages.
    pub fn tell_senders_of(&self, dead: &[DeadLettered]) {
        let router = self.router.read();
        for letter in dead {
            let (channel, seq, reason) = (letter.channel.to_string(), letter.seq, letter.reason.as_str());
            let message = SystemMessage::Expired { channel, seq, reason };
            let text = message.encode(Speaker::Bridge, Some(&letter.source), Some(&letter.message_id));
            for peer in Address::parse(&letter.source).map(|source| router.peers_at(&source)).unwrap_or_default() {
                peer.link.send(Lane::Control, Frame::text(&text));
            }
        }
    }

    /// A router has died outside a shutdown: the process is to end.
    pub fn report_router_death(&self) {
        if self.readiness() != Readiness::Draining {
            tracing::error!("a router died");
            let _ = self.router_died.send(true);
        }
    }

    /// Tells when a router has died.
    pub fn watch_routers(&self) -> watch::Receiver<bool> {
        self.router_died.subscribe()
    }

    /// The limits a peer is told.
    pub fn announced_limits(&self) -> AnnouncedLimits {
        let limits = &self.settings.limits;
        AnnouncedLimits {
            max_frame_bytes: limits.max_frame_bytes,
            max_fragments: limits.max_fragments,
            max_depth: limits.max_depth,
            outbox_bytes: limits.outbox_bytes,
            max_subscriptions: limits.max_subscriptions,
            max_pending_requests: limits.max_pending_requests,
        }
    }

    /// The heartbeat a peer is told.
    pub fn announced_heartbeat(&self) -> AnnouncedHeartbeat {
        AnnouncedHeartbeat {
            interval_ms: millis(self.settings.heartbeat.interval),
            timeout_ms: millis(self.settings.heartbeat.timeout),
        }
    }
}

/// A connection's place among those there may be. Given back when dropped.
#[derive(Debug)]
pub struct Admission(Arc<Broker>);

impl Admission {
    /// The broker that admitted it.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
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
