//! The page `/stats`. It only reads; no message passes through this module.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{envelope::Family, error::ErrorCode};
use serde_json::{Map, Value, json};
use store::{Kind, PositionsReport};
use transport::{Account, clock::now_ms};

use crate::{
    broker::Broker,
    holders::{Holder, Table},
    routing::{Counters, Route},
    state::Tracked,
    statistics::Totals,
};

/// The whole page. `positions`: as the store reports them, if it can be read.
pub fn to_json(broker: &Broker, tracked: Tracked, positions: Option<&PositionsReport>) -> Value {
    let shards = broker.statistics.shards();
    let (agents, takeovers, sessions, topics) = {
        let router = broker.router.read();
        (router.agents(), router.takeovers(now_ms()), router.session_count(), router.topic_count())
    };
    let lifetime = broker.statistics.lifetime(tracked.opened);
    let links = &broker.link_policy.counts;
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
        "status": broker.lifecycle.readiness().name(),
        "uptime_seconds": broker.statistics.started.elapsed().as_secs_f64(),
        "agents": { "connected": agents.len(), "takeovers": takeovers, "list": agents },
        "sessions": { "connected": sessions },
        "topics": topics,
        "connections": tracked.connections.to_json(),
        "lifetime": { "messages": lifetime.carried.to_json(), "connections": lifetime.connections },
        "messages": {
            "total": broker.statistics.totals().to_json(),
            "by_family": table(&Family::NAMES, &|shard, at| Totals::read(&shard.families[at])),
            "by_route": table(&Route::NAMES, &|shard, at| Totals::read(&shard.routes[at])),
        },
        "rates_per_second": tracked.rates,
        "errors": errors(broker),
        "shares": shares(broker),
        "turned_away": broker.http.gate.turned_away(),
        "http_faults": broker.http.faults.counts().map(|(name, count)| (name.to_owned(), json!(count))).collect::<Value>(),
        "queues": { "router_mailboxes": mailboxes, "outboxes": tracked.outboxes.to_json() },
        "slow_consumers": {
            "closed": load(&links.slow_consumers),
            "dropped_messages": load(&links.dropped_frames),
            "dropped_bytes": load(&links.dropped_bytes),
            "conflated_messages": load(&links.conflated_frames),
            "sender_pauses": load(&links.pauses),
        },
        "heartbeat_timeouts": load(&links.silent),
        "store": store(broker, positions),
        "tls": broker.http.tls.as_ref().map(|tls| tls.status()),
        "sockets": { "bytes_in": load(&links.bytes_in), "bytes_out": load(&links.bytes_out) },
    })
}

/// How much of each shared table is taken, by all and by sessions, and who has most.
fn shares(broker: &Broker) -> Value {
    let [everybody, sessions] = [Holder::Everybody, Holder::Sessions].map(|holder| broker.admissions.account(holder));
    let row = |table: Table| {
        let at = table as usize;
        let largest = broker.admissions.largest(at);
        // What has no bound is not counted.
        let counted = |account: &Account| Some((account.held(at), account.share(at))).filter(|(_, share)| *share > 0).unzip();
        let ((held, most), (held_by_sessions, most_by_sessions)) = (counted(&everybody), counted(&sessions));
        let row = json!({
            "held": held, "most": most,
            "held_by_sessions": held_by_sessions, "most_by_sessions": most_by_sessions,
            "refused": everybody.refused(at),
            "largest": largest.map(|(holder, held)| json!({ "holder": holder.to_string(), "held": held })),
        });
        (table.name().to_owned(), row)
    };
    Value::Object(Table::ALL.into_iter().map(row).collect())
}

/// The state of the store.
fn store(broker: &Broker, positions: Option<&PositionsReport>) -> Value {
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
        "new_epoch": health.new_epoch.map(|why| why.to_string()),
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
        "positions": positions.map(kept),
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

/// The positions of named clients, and who has most.
fn kept(PositionsReport { positions, addresses, largest }: &PositionsReport) -> Value {
    let row = |(kind, name, positions): &(String, String, u64)| json!({ "kind": kind, "name": name, "positions": positions });
    json!({ "kept": positions, "receivers": addresses, "largest": largest.iter().map(row).collect::<Vec<_>>() })
}

/// Errors that were sent at least once, by code.
fn errors(broker: &Broker) -> Value {
    let told = ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), broker.statistics.errors_told(*code)));
    Value::Object(told.filter(|(_, count)| *count > 0).map(|(code, count)| (code, json!(count))).collect())
}
