//! Connections: how many were opened and closed, and what waits in their outboxes.

use std::collections::BTreeMap;

use common::{close::CloseCode, connection::ConnectionState, dialect::Dialect};
use serde_json::{Map, Value, json};

use crate::side::Side;

/// Connections opened and closed since the start.
#[derive(Debug, Default)]
pub struct ConnectionStats {
    opened_agents: u64,
    opened_sessions: u64,
    closed: BTreeMap<u16, u64>,
}

impl ConnectionStats {
    /// One was opened.
    pub fn on_opened(&mut self, side: Side) {
        match side {
            Side::Agent => self.opened_agents += 1,
            Side::Session => self.opened_sessions += 1,
        }
    }

    /// How many were opened.
    pub fn opened(&self) -> u64 {
        self.opened_agents + self.opened_sessions
    }

    /// One was closed with this code.
    pub fn on_closed(&mut self, _: Side, code: CloseCode) {
        *self.closed.entry(code.0).or_default() += 1;
    }

    /// With the states of the present connections, and the dialects that their clients speak.
    pub fn to_json(&self, present: impl Iterator<Item = (Side, ConnectionState, Option<Dialect>)>) -> Value {
        let mut counts = [[0_u64; ConnectionState::NAMES.len()]; 2];
        let mut dialects = BTreeMap::<_, u64>::new();
        for (side, state, dialect) in present {
            counts[side as usize][state.position()] += 1;
            if let Some(dialect) = dialect {
                *dialects.entry(dialect.as_str()).or_default() += 1;
            }
        }
        let side = |side: Side, opened: u64| {
            let states = ConnectionState::NAMES.iter().zip(counts[side as usize]).take(3);
            let states: Map<_, _> = states.map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
            json!({ "opened": opened, "by_state": states })
        };
        let mut page = json!({
            "agents": side(Side::Agent, self.opened_agents),
            "sessions": side(Side::Session, self.opened_sessions),
            "closed_by_code": self.closed,
        });
        page["sessions"]["by_dialect"] = json!(dialects);
        page
    }
}

/// What waits in all outboxes together, and in the fullest.
pub fn depths(all: impl Iterator<Item = (usize, usize)>) -> Value {
    let (mut bytes, mut frames, mut fullest) = (0, 0, 0);
    for (link_bytes, link_frames) in all {
        bytes += link_bytes;
        frames += link_frames;
        fullest = fullest.max(link_bytes);
    }
    json!({ "bytes": bytes, "frames": frames, "fullest_bytes": fullest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_state_and_code() {
        let mut stats = ConnectionStats::default();
        stats.on_opened(Side::Agent);
        stats.on_opened(Side::Agent);
        stats.on_closed(Side::Agent, CloseCode::TAKEN_OVER);
        let present = [(Side::Agent, None), (Side::Session, Some(Dialect::Supervisor)), (Side::Session, None)];
        let present = present.into_iter().map(|(side, dialect)| (side, ConnectionState::Active, dialect));
        let seen = stats.to_json(present);
        assert_eq!(seen["agents"], json!({"opened": 2, "by_state": {"handshaking": 0, "active": 1, "closing": 0}}));
        assert_eq!(seen["closed_by_code"]["4009"], 1);
        assert_eq!(seen["sessions"]["by_dialect"], json!({"supervisor": 1}));
    }
}
