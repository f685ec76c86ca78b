//! What all ProxyActors share: the broker's address, the rules, the counters.

use std::{sync::Arc, time::Duration};

use common::{
    assertion::{ClientIdentity, LoggedIn, Signer},
    backoff::Backoff,
    config::Settings,
    error::ErrorCode,
    message::Speaker,
};
use gateway::doors::{BrokerAddress, SessionPipe};
use tls::{ClientTls, TlsError};
use transport::{DialError, Frame, LinkPolicy, Socket, Upgraded, flow::FlowPolicy, fragments::MessageLimits, link::LinkCounts};

use super::{counters::ProxyCounters, edge_name::EdgeName, uplink::UplinkLimits};
use crate::{
    http::Throttle,
    sessions::{Credentials, sharing::Sharing},
};

/// How many bytes longer a frame from the broker may be, because the broker adds fields to the
/// envelope.
const ENVELOPE_GROWTH: usize = 64 * 1024;
/// How many bytes one read may add.
const READ_BYTES: usize = 64 * 1024;
/// The longest frame from the broker. The broker's own answers (lists of agents) may be longer than
/// any peer's frame.
const LONGEST_FROM_BROKER: usize = 16 * 1024 * 1024;
/// How long a closing socket may take to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// A side is paused without a time limit of its own: until the other side is found too slow.
const PURE_BACKPRESSURE: FlowPolicy = FlowPolicy { burst_ms: u64::MAX, share: 1.0 };

/// Why a client is not connected to the broker.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// The broker could not be reached, or refused.
    #[error(transparent)]
    Failed(#[from] DialError),
    /// The client's credentials were revoked: `session_ended` or `credentials_expired`.
    #[error("the client's credentials were revoked: {0}")]
    Revoked(ErrorCode),
}

/// See the module.
pub struct ProxyEnvironment {
    broker: BrokerAddress,
    local: Option<SessionPipe>,
    signer: Arc<Signer>,
    /// Names clients that do not name themselves.
    pub name: EdgeName,
    /// Checks credentials that clients present in-band.
    pub credentials: Arc<Credentials>,
    /// Charges addresses for credentials that clients present in-band.
    pub throttle: Arc<Throttle>,
    /// Knows the revocations of other edges.
    pub sharing: Arc<Sharing>,
    /// The waits between dials.
    pub backoff: Backoff,
    /// The bounds of what a client may send.
    pub uplink: UplinkLimits,
    /// The longest frame from the broker.
    pub longest_from_broker: usize,
    /// How often a client is pinged while the broker, which pings it otherwise, is away.
    pub ping_interval: Duration,
    /// The rules of clients' sockets.
    pub client_policy: Arc<LinkPolicy>,
    /// The rules of sockets to the broker.
    pub upstream_policy: Arc<LinkPolicy>,
    /// The counters.
    pub counters: Arc<ProxyCounters>,
}

impl ProxyEnvironment {
    /// The environment for these settings. With `local`, the broker is in this process and is not
    /// dialled over the network.
    ///
    /// # Errors
    /// The trusted certificates for the broker cannot be read.
    pub fn new(
        settings: &Settings,
        credentials: Arc<Credentials>,
        sharing: Arc<Sharing>,
        (signer, throttle): (Arc<Signer>, Arc<Throttle>),
        local: Option<SessionPipe>,
    ) -> Result<Arc<Self>, TlsError> {
        let limits = &settings.limits;
        let heartbeat = &settings.heartbeat;
        let longest_frame = limits.max_frame_bytes.max(limits.client_frame_bytes());
        // The other side is paused at half an outbox. A frame and a read that arrived before the
        // pause fit into the other half.
        let room_for_both = 2 * (longest_frame + ENVELOPE_GROWTH + READ_BYTES);
        let policy = |slow_consumer_timeout, silence_timeout| {
            Arc::new(LinkPolicy {
                outbox_bytes: limits.outbox_bytes.max(room_for_both),
                flow: PURE_BACKPRESSURE,
                slow_consumer_timeout,
                // The broker's pings pass through; while it is away the actor pings.
                ping_interval: Duration::MAX,
                silence_timeout,
                close_grace: CLOSE_GRACE,
                speaker: Speaker::Edge,
                counts: LinkCounts::default(),
            })
        };
        let slow = limits.slow_consumer_timeout;
        // A paused side is silent because of the pause. The other side must be given up first.
        let patient = heartbeat.timeout.max(slow + CLOSE_GRACE + heartbeat.interval);
        let client_policy = policy(slow, patient);
        // A broker that slows a client down is not slow itself. It gives up on the client first.
        let rates = &settings.rates;
        let slowed = if rates.patience.is_zero() { Duration::MAX } else { slow.saturating_add(rates.patience) };
        let upstream_policy = policy(slowed, patient);
        let trust = tls::broker_trust(settings, settings.web.broker_url.as_deref()).filter(|_| local.is_none());
        Ok(Arc::new(Self {
            broker: BrokerAddress::new(
                &settings.broker_url(),
                trust.map(ClientTls::new).transpose()?.map(Arc::new),
                limits.handshake_timeout,
            ),
            local,
            signer,
            name: EdgeName::in_folder(&settings.data.dir),
            credentials,
            throttle,
            sharing,
            backoff: Backoff { first: settings.web.reconnect_min, longest: settings.web.reconnect_max },
            uplink: UplinkLimits {
                message: MessageLimits { max_bytes: limits.client_frame_bytes(), max_fragments: limits.max_fragments },
                held_bytes: settings.web.upstream_queue_bytes,
            },
            longest_from_broker: LONGEST_FROM_BROKER.max(longest_frame.saturating_mul(2)),
            ping_interval: heartbeat.interval,
            counters: ProxyCounters::new(Arc::clone(&client_policy), Arc::clone(&upstream_policy)),
            client_policy,
            upstream_policy,
        }))
    }

    /// `host:port` of the broker.
    pub fn broker(&self) -> &str {
        self.broker.authority()
    }

    /// The broker's address.
    pub fn broker_address(&self) -> &BrokerAddress {
        &self.broker
    }

    /// The frame that tells the broker of a login of the session; `None` if it cannot be signed.
    pub fn identify(&self, logged_in: &LoggedIn) -> Option<Frame> {
        let assertion = self.signer.mint_login(logged_in);
        let assertion = assertion.inspect_err(|code| tracing::error!(%code, "assertion not signed")).ok()?;
        let message = serde_json::json!({ "type": "connection:identify", "payload": { "assertion": assertion } });
        Some(Frame::client_text(&message.to_string()))
    }

    /// Dials the broker for a client.
    ///
    /// # Errors
    /// See [`NoLink`]. An assertion that cannot be signed counts as a refusal.
    pub async fn dial(self: Arc<Self>, identity: ClientIdentity) -> Result<Upgraded<Box<dyn Socket>>, NoLink> {
        let refused = match self.connect(&identity).await {
            Err(error @ DialError::Refused { status: 401, .. }) => error,
            outcome => return outcome.map_err(NoLink::Failed),
        };
        // The broker may know of a revocation that has not arrived here yet.
        self.sharing.catch_up().await;
        Err(self.sharing.check(&identity).map_or_else(NoLink::Revoked, |()| NoLink::Failed(refused)))
    }

    /// Connects, and tries once more if the broker has sent its time.
    async fn connect(&self, identity: &ClientIdentity) -> Result<Upgraded<Box<dyn Socket>>, DialError> {
        if let Some(connect) = &self.local {
            let socket = connect(identity.clone()).map_err(|code| DialError::Refused {
                status: code.row().status,
                clock: None,
                body: Vec::new(),
            })?;
            return Ok(Upgraded::without_handshake(socket));
        }
        self.broker.open_session(identity, &self.signer).await.map(Upgraded::boxed)
    }
}
