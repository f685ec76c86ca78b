//! The statistics that `/stats` shows: totals, rates and depths. Read only; nothing here is on the
//! path of a message.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use common::{close::CloseCode, connection::ConnectionState, envelope::Family, error::ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::Kind;
use transport::clock::now_ms;

use crate::{
    actors::Side,
    broker::{Broker, Readiness},
    holders::{Holder, Table},
    routing::{Counters, Route, RouteCounts},
    snapshot::Lifetime,
};

/// The longest span of rates, in seconds.
const WINDOW: usize = 60;

/// Messages and bytes, in and out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Totals {
    /// The totals of a broker.
    pub fn of(broker: &Broker) -> Self {
        Self::sum(broker.shards().iter().flat_map(|shard| &shard.routes).map(Self::read))
    }

    fn read(counts: &RouteCounts) -> Self {
        Self {
            messages_in: counts.messages_in.load(Relaxed),
            messages_out: counts.messages_out.load(Relaxed),
            bytes_in: counts.bytes_in.load(Relaxed),
            bytes_out: counts.bytes_out.load(Relaxed),
        }
    }

    /// The sum of several.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            messages_in: sum.messages_in + one.messages_in,
            messages_out: sum.messages_out + one.messages_out,
            bytes_in: sum.bytes_in + one.bytes_in,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }

    fn to_json(self) -> Value {
        json!({
            "messages_in": self.messages_in, "messages_out": self.messages_out,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
        })
    }

    fn per_second_since(self, earlier: Self, seconds: usize) -> Value {
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds as f64;
        json!({
            "messages_in": rate(self.messages_in, earlier.messages_in),
            "messages_out": rate(self.messages_out, earlier.messages_out),
            "bytes_in": rate(self.bytes_in, earlier.bytes_in),
            "bytes_out": rate(self.bytes_out, earlier.bytes_out),
        })
    }
}

/// Totals of the last minute, one each second.
#[derive(Debug, Default)]
pub struct Rates(VecDeque<Totals>);

impl Rates {
    /// A second has passed.
    pub fn sample(&mut self, totals: Totals) {
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(totals);
    }

    fn over(&self, seconds: usize) -> Value {
        let newest = self.0.back().copied().unwrap_or_default();
        let reach = seconds.min(self.0.len().saturating_sub(1));
        let oldest = self.0.iter().rev().nth(reach).copied().unwrap_or_default();
        newest.per_second_since(oldest, reach.max(1))
    }
}

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

    /// With the states of the present connections.
    pub fn to_json(&self, states: impl Iterator<Item = (Side, ConnectionState)>) -> Value {
        let mut counts = [[0_u64; ConnectionState::NAMES.len()]; 2];
        for (side, state) in states {
            counts[side as usize][state.position()] += 1;
        }
        let side = |side: Side, opened: u64| {
            let states = ConnectionState::NAMES.iter().zip(counts[side as usize]).take(3);
            let states: Map<_, _> = states.map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
            json!({ "opened": opened, "by_state": states })
        };
        json!({
            "agents": side(Side::Agent, self.opened_agents),
            "sessions": side(Side::Session, self.opened_sessions),
            "closed_by_code": self.closed,
        })
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

/// The whole page.
pub fn to_json(broker: &Broker, opened: u64, connections: Value, outboxes: Value, rates: &Rates) -> Value {
    let shards = broker.shards();
    let (agents, takeovers, sessions, topics) = {
        let router = broker.router.read();
        (router.agents(), router.takeovers(now_ms()), router.session_count(), router.topic_count())
    };
    let lifetime = Lifetime::of(broker, opened);
    let links = &broker.link_policy.counts;
    let readiness = match broker.readiness() {
        Readiness::Starting => "starting",
        Readiness::Ready => "ready",
        Readiness::Draining => "draining",
    };
    let table = |names: &[&str], pick: &dyn Fn(&Counters, usize) -> Totals| -> Value {
        let row =
            |(at, name): (usize, &&str)| ((*name).to_owned(), Totals::sum(shards.iter().map(|shard| pick(shard, at))).to_json());
        Value::Object(names.iter().enumerate().map(row).collect())
    };
    let mailboxes: Vec<_> = shards.iter().map(|shard| shard.mailbox.load(Relaxed)).collect();
    let load = |counter: &AtomicU64| counter.load(Relaxed);
    json!({
        "server": "agent-bridge",
        "version": env!("CARGO_PKG_VERSION"),
        "status": readiness,
        "uptime_seconds": broker.started.elapsed().as_secs_f64(),
        "agents": { "connected": agents.len(), "takeovers": takeovers, "list": agents },
        "sessions": { "connected": sessions },
        "topics": topics,
        "connections": connections,
        "lifetime": { "messages": lifetime.carried.to_json(), "connections": lifetime.connections },
        "messages": {
            "total": Totals::of(broker).to_json(),
            "by_family": table(&Family::NAMES, &|shard, at| Totals::read(&shard.families[at])),
            "by_route": table(&Route::NAMES, &|shard, at| Totals::read(&shard.routes[at])),
        },
        "rates_per_second": { "1s": rates.over(1), "10s": rates.over(10), "60s": rates.over(60) },
        "errors": errors(broker, &shards),
        "shares": shares(broker),
        "turned_away": broker.gate.turned_away(),
        "http_faults": broker.http_faults.counts().map(|(name, count)| (name.to_owned(), json!(count))).collect::<Value>(),
        "queues": { "router_mailboxes": mailboxes, "outboxes": outboxes },
        "slow_consumers": {
            "closed": load(&links.slow_consumers),
            "dropped_messages": load(&links.dropped_frames),
            "dropped_bytes": load(&links.dropped_bytes),
            "conflated_messages": load(&links.conflated_frames),
            "sender_pauses": load(&links.pauses),
        },
        "heartbeat_timeouts": load(&links.silent),
        "store": store(broker),
        "tls": broker.tls.as_ref().map(|tls| tls.status()),
        "sockets": { "bytes_in": load(&links.bytes_in), "bytes_out": load(&links.bytes_out) },
    })
}

/// How much of each shared table is taken, by all and by sessions, and who has most.
fn shares(broker: &Broker) -> Value {
    let [everybody, sessions] = [Holder::Everybody, Holder::Sessions].map(|holder| broker.account(holder));
    let row = |table: Table| {
        let at = table as usize;
        let largest = broker.accounts.largest(at, |holder| !holder.is_collective());
        let row = json!({
            "held": everybody.held(at), "most": everybody.share(at),
            "held_by_sessions": sessions.held(at), "most_by_sessions": sessions.share(at),
            "refused": everybody.refused(at),
            "largest": largest.map(|(holder, held)| json!({ "holder": holder.to_string(), "held": held })),
        });
        (table.name().to_owned(), row)
    };
    Value::Object(Table::ALL.into_iter().map(row).collect())
}

/// The state of the store.
fn store(broker: &Broker) -> Value {
    let store = broker.channels.store();
    let (health, remembered, usage) = (store.health(), broker.channels.remembered(), store.usage());
    let fullest: Vec<_> = usage
        .fullest
        .iter()
        .map(|(kind, name, used)| json!({ "kind": kind.as_str(), "name": name, "messages": used.records, "bytes": used.bytes }))
        .collect();
    let refused: Map<_, _> =
        Kind::ALL.iter().zip(usage.refused).map(|(kind, count)| (kind.as_str().to_owned(), json!(count))).collect();
    json!({
        "ready": health.is_ready(),
        "fault": health.fault.as_ref().map(ToString::to_string),
        "checkpoint_fault": health.checkpoint_fault.as_ref().map(ToString::to_string),
        "epoch": store.epoch().to_string(),
        "records": health.records,
        "bytes": health.bytes,
        "channels": health.channels,
        "appended": health.appended,
        "duplicates": health.duplicates + broker.channels.repeated(),
        "commits": health.commits,
        "queued_writes": health.queued_writes,
        "last_commit_us": health.last_commit_us,
        "longest_commit_us": health.longest_commit_us,
        "file_bytes": health.file_bytes,
        "wal_bytes": health.wal_bytes,
        "disk_free_bytes": health.disk_free_bytes,
        "quotas": { "holders": usage.holders, "fullest": fullest, "refused": refused, "refused_full": usage.refused_full },
        "remembered": {
            "loaded_channels": remembered.loaded,
            "pending_inboxes": remembered.pending,
            "recent_ids": remembered.recent,
            "untold_inboxes": remembered.untold,
            "sessions": remembered.sessions,
            "sessions_of_edges": remembered.kept_of_edges,
        },
    })
}

/// Errors that were sent at least once, by code.
fn errors(broker: &Broker, shards: &[std::sync::Arc<Counters>]) -> Value {
    let count = |code: &ErrorCode| {
        let told: u64 = shards.iter().map(|shard| shard.errors.of(*code)).sum();
        (code.as_str().to_owned(), told + broker.refusals.of(*code))
    };
    let told = ErrorCode::ALL.iter().map(count).filter(|(_, count)| *count > 0);
    Value::Object(told.map(|(code, count)| (code, json!(count))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_look_back_as_far_as_there_are_samples() {
        let mut rates = Rates::default();
        assert_eq!(rates.over(10)["messages_in"], 0.0);
        for second in 0..100_u64 {
            rates.sample(Totals { messages_in: second * 10, ..Totals::default() });
            assert!(rates.0.len() <= WINDOW + 1);
        }
        for seconds in [1, 10, 60] {
            assert_eq!(rates.over(seconds)["messages_in"], 10.0, "{seconds}");
        }
    }

    #[test]
    fn connections_are_counted_by_state_and_code() {
        let mut stats = ConnectionStats::default();
        stats.on_opened(Side::Agent);
        stats.on_opened(Side::Agent);
        stats.on_closed(Side::Agent, CloseCode::TAKEN_OVER);
        let seen = stats.to_json(std::iter::once((Side::Agent, ConnectionState::Active)));
        assert_eq!(seen["agents"], json!({"opened": 2, "by_state": {"handshaking": 0, "active": 1, "closing": 0}}));
        assert_eq!(seen["closed_by_code"]["4009"], 1);
    }
}
