//! The page `/metrics`. It only reads; no message passes through this module.

use std::sync::atomic::Ordering::Relaxed;

use common::{envelope::Family, error::ErrorCode, timestamp::unix_ms};
use store::Kind;
use transport::{clock::now_ms, metrics::Scrape};

use crate::{
    broker::Broker,
    holders::{Holder, Table},
    lifecycle::Readiness,
    routing::{Counters, Route, RouteCounts},
    state::Tracked,
    statistics::Totals,
};

transport::metrics! {
    /// Every metric of the broker, in the order of a scrape.
    pub static METRICS;

    BUILD = gauge("bridge_build_info", ["version"], "Always 1; the label has the version");
    STARTED = gauge("bridge_start_time_seconds", [], "When the broker started, in seconds since 1970");
    READY = gauge("bridge_ready", [], "1 if the broker accepts connections and durable messages");
    CONNECTIONS = gauge("bridge_connections", ["side", "state"], "Connections at this moment");
    BY_DIALECT = gauge("bridge_dialect_connections", ["dialect"], "Connections of sessions whose client speaks \
        a dialect");
    OPENED = counter("bridge_connections_opened", ["side"], "Connections opened");
    CLOSED = counter("bridge_connections_closed", ["code"], "Connections closed, by WebSocket close code; \
        `other` for codes that the protocol does not have");
    AGENTS = gauge("bridge_agents", [], "Registered agents");
    SESSIONS = gauge("bridge_sessions", [], "Sessions with a connection");
    TAKEOVERS = counter("bridge_agent_takeovers", [], "Agent ids taken over by a newer connection");
    RECEIVED = counter("bridge_messages_received", ["route"], "Messages received, by kinds of sender and receiver");
    DELIVERED = counter("bridge_messages_delivered", ["route"], "Deliveries: one for each receiver of a message");
    BYTES_RECEIVED = counter("bridge_message_bytes_received", ["route"], "Bytes of the messages received");
    BYTES_DELIVERED = counter("bridge_message_bytes_delivered", ["route"], "Bytes of the deliveries");
    BY_FAMILY = counter("bridge_messages_by_family", ["family"], "Messages received, by family of their type");
    ERRORS = counter("bridge_errors", ["code"], "Errors told to peers and refused HTTP requests, by error code");
    SOCKET_IN = counter("bridge_socket_bytes_in", [], "Bytes read from WebSockets");
    SOCKET_OUT = counter("bridge_socket_bytes_out", [], "Bytes written to WebSockets");
    ROUTER_WAIT = histogram("bridge_router_wait_seconds", [], "How long work waits for a router thread, \
        measured four times a second at each");
    ROUTER_MAILBOX = gauge("bridge_router_mailbox", [], "Messages that wait for a router thread, in all");
    OUTBOX_BYTES = gauge("bridge_outbox_bytes", [], "Bytes that wait in all outboxes");
    OUTBOX_FRAMES = gauge("bridge_outbox_frames", [], "Frames that wait in all outboxes");
    OUTBOX_FULLEST = gauge("bridge_outbox_fullest_bytes", [], "Bytes that wait in the fullest outbox");
    SLOW = counter("bridge_slow_consumers_closed", [], "Connections closed because they did not read");
    SILENT = counter("bridge_heartbeat_timeouts", [], "Connections closed because nothing was heard from them");
    PAUSES = counter("bridge_sender_pauses", [], "How often a sender was paused for a slow receiver");
    DROPPED = counter("bridge_dropped_messages", [], "Ephemeral messages dropped for want of room in an outbox");
    DROPPED_BYTES = counter("bridge_dropped_bytes", [], "Bytes of those");
    MERGED = counter("bridge_merged_messages", [], "Ephemeral messages merged into one that waited");
    TOPICS = gauge("bridge_topics", [], "Topics with subscribers");
    HELD = gauge("bridge_shared_table_entries", ["table"], "Entries of a table that all connections share");
    BOUND = gauge("bridge_shared_table_limit", ["table"], "The most entries of that table");
    REFUSED = counter("bridge_shared_table_refusals", ["table"], "How often an entry was refused");
    TURNED_AWAY = counter("bridge_http_connections_turned_away", [], "HTTP connections closed unread: \
        their address had too many");
    HTTP_FAULTS = counter("bridge_http_faults", ["fault"], "HTTP connections ended for what the client did");
    STORE_READY = gauge("bridge_store_ready", [], "1 if durable messages can be stored");
    STORE_RECORDS = gauge("bridge_store_records", [], "Messages in the store");
    STORE_BYTES = gauge("bridge_store_bytes", [], "Bytes of those");
    STORE_CHANNELS = gauge("bridge_store_channels", [], "Channels in the store");
    STORE_APPENDED = counter("bridge_store_appended", [], "Messages stored");
    STORE_DUPLICATES = counter("bridge_store_duplicates", [], "Repeated messages recognised and not stored again");
    STORE_COMMITS = counter("bridge_store_commits", [], "Commits");
    STORE_QUEUED = gauge("bridge_store_queued_writes", [], "Writes that wait for the store");
    STORE_LAST_COMMIT = gauge("bridge_store_last_commit_seconds", [], "How long the last commit took");
    STORE_LONGEST_COMMIT = gauge("bridge_store_longest_commit_seconds", [], "How long the longest commit took");
    CONFIRMATION = histogram("bridge_store_confirmation_seconds", [], "From the dispatch of a durable message \
        to its confirmation, measured for one message in 16");
    STORE_DAMAGED = gauge("bridge_store_damaged_channels", [], "Channels in which damage was found");
    STORE_FILE = gauge("bridge_store_file_bytes", [], "Size of the store's file");
    STORE_LOG = gauge("bridge_store_log_bytes", [], "Size of the write-ahead log of the store's file");
    DISK_FREE = gauge("bridge_store_disk_free_bytes", [], "Free bytes of the store's disk; 0 if unknown");
    QUOTA_REFUSED = counter("bridge_store_quota_refusals", ["holder"], "Messages refused because their sender \
        has too much stored, by kind of sender");
    FULL_REFUSED = counter("bridge_store_full_refusals", [], "Messages refused because the store or its disk is full");
    CERTIFICATE = gauge("bridge_tls_certificate_ok", [], "1 if the certificate is valid; absent without TLS");
    TLS_HANDSHAKES = counter("bridge_tls_handshakes", ["result"], "TLS handshakes; absent without TLS");
}

/// One scrape.
pub fn scrape(broker: &Broker, tracked: &Tracked) -> String {
    let mut scrape = Scrape::default();
    let now = unix_ms();
    let uptime = broker.statistics.started.elapsed().as_secs_f64();
    scrape.level_each(&BUILD, [(env!("CARGO_PKG_VERSION"), 1_u64)]);
    scrape.level(&STARTED, (now as f64 / 1000.0 - uptime).round());
    let store_is_ready = broker.channels.store().health().is_ready();
    scrape.level(&READY, broker.lifecycle.readiness() == Readiness::Ready && store_is_ready);
    connections(&mut scrape, broker, tracked);
    messages(&mut scrape, broker);
    queues(&mut scrape, broker, tracked);
    shares(&mut scrape, broker);
    store(&mut scrape, broker);
    if let Some(tls) = &broker.http.tls {
        let status = tls.status();
        scrape.level(&CERTIFICATE, status.fault.is_none());
        scrape.count_each(&TLS_HANDSHAKES, status.handshakes_by_result());
    }
    scrape.into_text()
}

fn connections(scrape: &mut Scrape, broker: &Broker, tracked: &Tracked) {
    scrape.set_each(&CONNECTIONS, tracked.connections.present().map(|(labels, count)| (labels, count.into())));
    scrape.level_each(&BY_DIALECT, tracked.connections.by_dialect());
    scrape.count_each(&OPENED, tracked.connections.opened());
    scrape.count_each(&CLOSED, tracked.connections.closed());
    let (agents, takeovers, sessions, topics) = {
        let router = broker.router.read();
        (router.agent_count(), router.takeovers(now_ms()).made, router.session_count(), router.topic_count())
    };
    scrape.level(&AGENTS, agents);
    scrape.level(&SESSIONS, sessions);
    scrape.level(&TOPICS, topics);
    scrape.count(&TAKEOVERS, takeovers);
}

fn messages(scrape: &mut Scrape, broker: &Broker) {
    let shards = broker.statistics.shards();
    let sum = |pick: &dyn Fn(&Counters) -> &RouteCounts| Totals::sum(shards.iter().map(|shard| Totals::read(pick(shard))));
    let routes: Vec<_> = Route::NAMES.into_iter().enumerate().map(|(at, name)| (name, sum(&|shard| &shard.routes[at]))).collect();
    let by_route = |pick: fn(&Totals) -> u64| routes.iter().map(move |(name, totals)| (*name, pick(totals)));
    scrape.count_each(&RECEIVED, by_route(|totals| totals.messages_in));
    scrape.count_each(&DELIVERED, by_route(|totals| totals.messages_out));
    scrape.count_each(&BYTES_RECEIVED, by_route(|totals| totals.bytes_in));
    scrape.count_each(&BYTES_DELIVERED, by_route(|totals| totals.bytes_out));
    let families = Family::NAMES.into_iter().enumerate();
    scrape.count_each(&BY_FAMILY, families.map(|(at, name)| (name, sum(&|shard| &shard.families[at]).messages_in)));
    let errors = ErrorCode::ALL.iter().map(|code| (code.as_str(), broker.statistics.errors_told(*code)));
    scrape.count_each(&ERRORS, errors.filter(|(_, count)| *count > 0));
    let links = &broker.link_policy.counts;
    scrape.count(&SOCKET_IN, links.bytes_in.load(Relaxed));
    scrape.count(&SOCKET_OUT, links.bytes_out.load(Relaxed));
}

fn queues(scrape: &mut Scrape, broker: &Broker, tracked: &Tracked) {
    scrape.distribution(&ROUTER_WAIT, &broker.statistics.times.router_wait);
    scrape.level(&ROUTER_MAILBOX, broker.statistics.shards().iter().map(|shard| shard.mailbox.load(Relaxed)).sum::<u64>());
    scrape.level(&OUTBOX_BYTES, tracked.outboxes.bytes);
    scrape.level(&OUTBOX_FRAMES, tracked.outboxes.frames);
    scrape.level(&OUTBOX_FULLEST, tracked.outboxes.fullest_bytes);
    let links = &broker.link_policy.counts;
    scrape.count(&SLOW, links.slow_consumers.load(Relaxed));
    scrape.count(&SILENT, links.silent.load(Relaxed));
    scrape.count(&PAUSES, links.pauses.load(Relaxed));
    scrape.count(&DROPPED, links.dropped_frames.load(Relaxed));
    scrape.count(&DROPPED_BYTES, links.dropped_bytes.load(Relaxed));
    scrape.count(&MERGED, links.conflated_frames.load(Relaxed));
}

fn shares(scrape: &mut Scrape, broker: &Broker) {
    let everybody = broker.admissions.account(Holder::Everybody);
    let tables = || Table::ALL.into_iter().map(|table| (table, table as usize));
    // What has no bound is not counted.
    let counted = || tables().filter(|(_, at)| everybody.share(*at) > 0);
    scrape.level_each(&HELD, counted().map(|(table, at)| (table.name(), everybody.held(at))));
    scrape.level_each(&BOUND, counted().map(|(table, at)| (table.name(), everybody.share(at))));
    scrape.count_each(&REFUSED, tables().map(|(table, at)| (table.name(), everybody.refused(at))));
    scrape.count(&TURNED_AWAY, broker.http.gate.turned_away());
    scrape.count_each(&HTTP_FAULTS, broker.http.faults.counts());
}

fn store(scrape: &mut Scrape, broker: &Broker) {
    let store = broker.channels.store();
    let (health, usage) = (store.health(), store.usage());
    let seconds = |microseconds: u64| microseconds as f64 / 1e6;
    scrape.level(&STORE_READY, health.is_ready());
    scrape.level(&STORE_RECORDS, health.records);
    scrape.level(&STORE_BYTES, health.bytes);
    scrape.level(&STORE_CHANNELS, health.channels);
    scrape.count(&STORE_APPENDED, health.appended);
    scrape.count(&STORE_DUPLICATES, health.duplicates + broker.channels.repeated());
    scrape.count(&STORE_COMMITS, health.commits);
    scrape.level(&STORE_QUEUED, health.queued_writes);
    scrape.level(&STORE_LAST_COMMIT, seconds(health.last_commit_us));
    scrape.level(&STORE_LONGEST_COMMIT, seconds(health.longest_commit_us));
    scrape.distribution(&CONFIRMATION, &broker.statistics.times.confirmation);
    scrape.level(&STORE_DAMAGED, health.damaged_channels);
    scrape.level(&STORE_FILE, health.file_bytes);
    scrape.level(&STORE_LOG, health.wal_bytes);
    scrape.level(&DISK_FREE, health.disk_free_bytes);
    scrape.count_each(&QUOTA_REFUSED, Kind::ALL.into_iter().map(|kind| kind.as_str()).zip(usage.refused));
    scrape.count(&FULL_REFUSED, usage.refused_full);
}
