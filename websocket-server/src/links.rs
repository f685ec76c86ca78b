//! The rules of the broker's connections.

use std::{sync::Arc, time::Duration};

use common::{config::Settings, message::Speaker, timestamp::millis};
use transport::{LinkPolicy, flow::FlowPolicy, link::LinkCounts};

/// How long a closing connection may take to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The rules that the settings ask for, with counters at zero.
pub fn link_policy(settings: &Settings) -> Arc<LinkPolicy> {
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
