//! Edges whose assertions are refused. Each is logged, because an operator has to correct a secret
//! or a clock.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use common::error::ErrorCode;
use parking_lot::Mutex;

/// The least time between two lines in the log.
const EVERY: Duration = Duration::from_secs(10);

/// Bounds the log lines: anybody can send an assertion with a wrong signature.
#[derive(Debug, Default)]
pub struct RefusedEdges(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    /// Refusals since then.
    more: u64,
}

impl RefusedEdges {
    /// A text presented as an assertion was refused with this code.
    pub fn note(&self, code: ErrorCode, address: IpAddr) {
        let mut logged = self.0.lock();
        if logged.at.is_some_and(|at| at.elapsed() < EVERY) {
            logged.more += 1;
            return;
        }
        let more = std::mem::take(&mut logged.more);
        logged.at = Some(Instant::now());
        drop(logged);
        let reason = match code {
            ErrorCode::CredentialsExpired => {
                "its clock differs from the broker's; it is told the broker's time, and goes by that from now on"
            }
            _ => "it is signed with another bridge secret: broker.bridge_secret must be the same at broker and edge",
        };
        tracing::warn!(%address, code = code.as_str(), since_last_line = more, reason, "the assertion of an edge was refused");
    }
}
