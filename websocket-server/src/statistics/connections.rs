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
    pub fn with_states(&self, present: impl Iterator<Item = (Side, ConnectionState, Option<Dialect>)>) -> ConnectionCounts {
        let mut by_state = [[0; PRESENT]; 2];
        let mut by_dialect: BTreeMap<_, u64> = BTreeMap::new();
        for (side, state, dialect) in present {
            if let Some(count) = by_state[side as usize].get_mut(state.position()) {
                *count += 1;
            }
            if let Some(dialect) = dialect {
                *by_dialect.entry(dialect.as_str()).or_default() += 1;
            }
        }
        ConnectionCounts { opened: [self.opened_agents, self.opened_sessions], by_state, by_dialect, closed: self.closed.clone() }
    }
}

/// The states of a connection that is not closed.
const PRESENT: usize = ConnectionState::NAMES.len() - 1;

/// Connections of a broker.
#[derive(Clone, Debug)]
pub struct ConnectionCounts {
    /// Opened since the start, by [`Side`].
    opened: [u64; 2],
    /// Present ones, by [`Side`] and [`ConnectionState::position`].
    by_state: [[u64; PRESENT]; 2],
    /// Present ones of sessions, by the dialect that their client speaks, if it is one.
    by_dialect: BTreeMap<&'static str, u64>,
    /// Closed since the start, by close code.
    closed: BTreeMap<u16, u64>,
}

/// The sides with their names in statistics.
const SIDES: [(&str, Side); 2] = [("agents", Side::Agent), ("sessions", Side::Session)];

impl ConnectionCounts {
    /// As `/stats` shows it.
    pub fn to_json(&self) -> Value {
        let mut page: Map<_, _> = SIDES
            .iter()
            .map(|(name, side)| {
                let states: Map<_, _> = self.states_of(*side).map(|(state, count)| (state.to_owned(), json!(count))).collect();
                ((*name).to_owned(), json!({ "opened": self.opened[*side as usize], "by_state": states }))
            })
            .collect();
        if let Some(sessions) = page.get_mut("sessions") {
            sessions["by_dialect"] = json!(self.by_dialect);
        }
        page.insert("closed_by_code".to_owned(), json!(self.closed));
        Value::Object(page)
    }

    /// Present connections by side and state.
    pub fn present(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        SIDES.iter().flat_map(|(name, side)| self.states_of(*side).map(|(state, count)| ([*name, state], count)))
    }

    /// Present connections of sessions by the dialect that their client speaks, if it is one.
    pub fn by_dialect(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.by_dialect.iter().map(|(dialect, count)| (*dialect, *count))
    }

    /// Opened connections by side.
    pub fn opened(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SIDES.iter().map(|(name, side)| (*name, self.opened[*side as usize]))
    }

    /// Closed connections by close code. There are as many series as the protocol has codes: a peer
    /// can end its connection with any code, and those that the protocol does not have are `other`.
    pub fn closed(&self) -> impl Iterator<Item = (String, u64)> {
        let mut counts = BTreeMap::new();
        for (code, count) in &self.closed {
            let name = if CloseCode(*code).is_known() { code.to_string() } else { "other".to_owned() };
            *counts.entry(name).or_default() += count;
        }
        counts.into_iter()
    }

    fn states_of(&self, side: Side) -> impl Iterator<Item = (&'static str, u64)> {
        ConnectionState::NAMES.into_iter().zip(self.by_state[side as usize])
    }
}

/// What waits in the outboxes of all connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depths {
    /// Bytes.
    pub bytes: usize,
    /// Frames.
    pub frames: usize,
    /// Bytes in the fullest outbox.
    pub fullest_bytes: usize,
}

impl Depths {
    /// Of outboxes with so many bytes and frames.
    pub fn of(all: impl Iterator<Item = (usize, usize)>) -> Self {
        all.fold(Self::default(), |sum, (bytes, frames)| Self {
            bytes: sum.bytes + bytes,
            frames: sum.frames + frames,
            fullest_bytes: sum.fullest_bytes.max(bytes),
        })
    }

    /// As `/stats` shows it.
    pub fn to_json(self) -> Value {
        json!({ "bytes": self.bytes, "frames": self.frames, "fullest_bytes": self.fullest_bytes })
    }
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
        stats.on_closed(Side::Agent, CloseCode(4999));
        let present = [(Side::Agent, None), (Side::Session, Some(Dialect::Supervisor)), (Side::Session, None)];
        let present = present.into_iter().map(|(side, dialect)| (side, ConnectionState::Active, dialect));
        let counts = stats.with_states(present);
        let seen = counts.to_json();
        assert_eq!(seen["agents"], json!({"opened": 2, "by_state": {"handshaking": 0, "active": 1, "closing": 0}}));
        assert_eq!(seen["closed_by_code"]["4009"], 1);
        assert_eq!(seen["closed_by_code"]["4999"], 1);
        assert_eq!(seen["sessions"]["by_dialect"], json!({"supervisor": 1}));
        let closed: Vec<_> = counts.closed().collect();
        assert_eq!(closed, [("4009".to_owned(), 1), ("other".to_owned(), 1)]);
    }
}
