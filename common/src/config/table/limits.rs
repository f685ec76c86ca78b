//! The settings that bound what peers may take, and those of the process.

use std::time::Duration;

use crate::config::checks::{is_agent_id, is_log_filter, is_pattern, is_ws_url};
use crate::config::kinds::{Choice, Flag, Integer, List, Networks, OptionalText, PerSecond, Ratio, Size, Span, Text};
use crate::config::setting::{Setting, settings};
use crate::config::settings::LogFormat;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;
const PATTERN: &str = "patterns, where `*` is any run of characters and `?` any one";
const WS_URL: &str = "`ws://host:port` or `wss://host:port`";

/// The rows, in the order of the reference.
pub(super) static ROWS: &[Setting] = settings! {
    "limits.max_connections" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_connections },
        "Connections in all; the next is refused with 503. Each takes a file descriptor.";
    "limits.max_handshakes" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_handshakes },
        "HTTP connections and handshakes at once, without the WebSockets; at the edge, of each worker thread. More \
        wait in the kernel to be accepted.";
    "limits.handshake_timeout" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.limits.handshake_timeout },
        "Time for the head of an HTTP request; then the connection is closed.";
    "limits.request_timeout" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.limits.request_timeout },
        "Time for a whole HTTP request, head and body; then it is answered with 408. A connection is also closed if \
        its client reads nothing of an answer for so long, or less than 4 KiB/s over the whole answer.";
    "limits.max_frame_bytes" => Size { min: KIB, max: GIB, at: |d| &mut d.settings.limits.max_frame_bytes },
        "Bytes of a frame, and of a message of several fragments; a larger one closes its connection with 1009.";
    "limits.max_client_frame_bytes" => Size { min: 0, max: GIB, at: |d| &mut d.settings.limits.max_client_frame_bytes },
        "The same for sessions, at the edge and at the broker, at least 32KiB. 0: as `limits.max_frame_bytes`, which \
        applies to agents in any case.";
    "limits.max_fragments" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_fragments },
        "Fragments in a message; one more closes the connection with 1009.";
    "limits.max_depth" => Integer { min: 2, max: 1024, at: |d| &mut d.settings.limits.max_depth },
        "Nesting of JSON in an envelope; deeper ones are invalid.";
    "limits.max_bad_frames" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_bad_frames },
        "Invalid envelopes in a row; then the connection is closed with 4400.";
    "limits.outbox_bytes" => Size { min: KIB, max: GIB, at: |d| &mut d.settings.limits.outbox_bytes },
        "Bytes that wait for a peer that does not read. What does not fit is dropped, counted and told.";
    "limits.slow_consumer_timeout" => Span {
        min: Duration::from_millis(100),
        max: HOUR,
        at: |d| &mut d.settings.limits.slow_consumer_timeout,
    },
        "How long a peer may take hardly anything of what waits for it; then it is closed with 4008.";
    "limits.flow_control_burst" => Span { min: Duration::ZERO, max: MINUTE, at: |d| &mut d.settings.limits.flow_control_burst },
        "How long senders to a slow peer may be paused at once; 0: never.";
    "limits.flow_control_share" => Ratio { at: |d| &mut d.settings.limits.flow_control_share },
        "The share of time for which senders to a slow peer may be paused in the long run; 0: none after the burst.";
    "limits.max_subscriptions" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_subscriptions },
        "Subscriptions of a connection; the next is refused.";
    "limits.max_session_subscriptions" => Integer {
        min: 1,
        max: 10_000_000,
        at: |d| &mut d.settings.limits.max_session_subscriptions,
    },
        "Subscriptions of all connections of a session together; the next is refused.";
    "limits.max_user_subscriptions" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_user_subscriptions },
        "Subscriptions of all sessions of a user together; the next is refused.";
    "limits.max_key_subscriptions" => Integer { min: 0, max: 10_000_000, at: |d| &mut d.settings.limits.max_key_subscriptions },
        "Subscriptions of all agents with one key together; the next is refused. 0: as `limits.key_share` says.";
    "limits.max_pending_requests" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_pending_requests },
        "Open requests of a connection; the next is refused.";
    "limits.max_session_connections" => Integer {
        min: 1,
        max: 1_000_000,
        at: |d| &mut d.settings.limits.max_session_connections,
    },
        "Connections (tabs) of a session; the next is refused with 429.";
    "limits.max_topics" => Integer { min: 1, max: 100_000_000, at: |d| &mut d.settings.limits.max_topics },
        "Topics with subscribers in all; a subscription to one more is refused.";
    "limits.max_address_handshakes" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_address_handshakes },
        "Connections of one address to one listener that speak HTTP; the next is closed unread. IPv6 addresses count by their first 64 bits.";
    "limits.max_address_connections" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_address_connections },
        "Sockets of one address; the next is refused with 429.";
    "limits.max_user_connections" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_user_connections },
        "Sockets of one user, over all sessions; the next is refused with 429.";
    "limits.max_key_connections" => Integer { min: 0, max: 10_000_000, at: |d| &mut d.settings.limits.max_key_connections },
        "Sockets of agents with one key; the next is refused with 429. 0: no bound.";
    "limits.session_share" => Ratio { at: |d| &mut d.settings.limits.session_share },
        "The part of each table that all connections use (topics, open requests, messages that wait for inboxes to be \
        opened, history reads) that one session may have, at least 16 places. 1: no share of its own.";
    "limits.user_share" => Ratio { at: |d| &mut d.settings.limits.user_share },
        "The same for one user, over all sessions.";
    "limits.address_share" => Ratio { at: |d| &mut d.settings.limits.address_share },
        "The same for all sessions of one address, also of the 2,000,000 subscriptions in all. Addresses in \
        `limits.exempt_networks` have no share.";
    "limits.key_share" => Ratio { at: |d| &mut d.settings.limits.key_share },
        "The same for all agents with one key.";
    "limits.agents_reserve" => Ratio { at: |d| &mut d.settings.limits.agents_reserve },
        "The part of each of these tables, and of the connections, that sessions leave to agents, however many \
        sessions there are.";
    "limits.free_failures" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.free_failures },
        "Wrong keys, logins or tokens of one address that cost nothing; their count halves with time \
        (`limits.failure_half_life`).";
    "limits.first_failure_wait" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.limits.first_failure_wait },
        "How long an address waits after one more failure; it doubles with each. During the wait its wrong \
        credentials are refused with 429, and keys that could be guessed are refused unseen.";
    "limits.longest_failure_wait" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.limits.longest_failure_wait },
        "The longest such wait.";
    "limits.failure_half_life" => Span { min: SECOND, max: DAY, at: |d| &mut d.settings.limits.failure_half_life },
        "The time in which the count of an address's failures halves.";
    "limits.exempt_networks" => Networks { at: |d| &mut d.settings.limits.exempt_networks },
        "Addresses without limits per address. A proxy on this machine that is not in `proxies.trusted` gives \
        everybody such an address.";

    "rates.address_connections" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.address_connections },
        "New connections of one address to one listener; the next is closed unread.";
    "rates.registrations" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.registrations },
        "New sessions of one address; the next is refused with 429 and `Retry-After`.";
    "rates.logins" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.logins },
        "Login requests of one session, and failed logins of one address; the next is refused with 429 and \
        `Retry-After`. Valid logins are accepted, whatever else fails at their address. Also the refusals (401, 403) \
        of one address that the audit log records; further ones are counted.";
    "rates.checks" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.checks },
        "Signatures of issuers and wallets that are checked for one address; the next is refused with 429 and \
        `Retry-After`. Bounds the cost of forged tokens. For all addresses together there are 5000 a second, and as \
        many more for addresses without failures.";
    "rates.sessions" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.sessions },
        "Requests of one session about itself (confirm, describe, refresh, end), and of one address that prove no \
        session; the next is refused with 429 and `Retry-After`.";
    "rates.operators" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.operators },
        "Requests of one address for `/stats`, `/metrics` and `/api/v1/…`, to broker and edge each; the next is refused with 429 \
        and `Retry-After`.";
    "rates.calls" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.calls },
        "Messages and requests that one session, or all holders of one agent key, post over HTTP (`/api/v1/messages`, \
        `/api/v1/request`); the next is refused with 429 and `Retry-After`. They also count as frames.";
    "rates.session_messages" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.session_messages },
        "Frames of one session. Beyond that rate its connections are not read for a while.";
    "rates.session_bytes" => PerSecond { is_size: true, at: |d| &mut d.settings.rates.session_bytes },
        "Bytes of those.";
    "rates.user_messages" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.user_messages },
        "Frames of all sessions of one user.";
    "rates.user_bytes" => PerSecond { is_size: true, at: |d| &mut d.settings.rates.user_bytes },
        "Bytes of those.";
    "rates.address_messages" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.address_messages },
        "Frames of all sessions of one address.";
    "rates.address_bytes" => PerSecond { is_size: true, at: |d| &mut d.settings.rates.address_bytes },
        "Bytes of those.";
    "rates.key_messages" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.key_messages },
        "Frames of all agents with one key.";
    "rates.key_bytes" => PerSecond { is_size: true, at: |d| &mut d.settings.rates.key_bytes },
        "Bytes of those.";
    "rates.patience" => Span { min: Duration::ZERO, max: DAY, at: |d| &mut d.settings.rates.patience },
        "How long a connection may stay over its rates; then it is closed with 4029. 0: it is only slowed.";
    "rates.answers" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.answers },
        "Answers to answers in one chain of messages; the next is refused with `loop_stopped`. 0: loops are not \
        detected.";

    "access.public_agents" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.public_agents },
        "Agents that every session sees and may send to.";
    "access.user_agents" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.user_agents },
        "Agents for sessions of logged-in users only. Overrides `access.public_agents`.";
    "access.public_topics" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.public_topics },
        "Topics that every session may use. Topics below `user/<name>/` and `session/<id>/` belong to that user or \
        session, whatever is set here.";
    "access.user_topics" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.user_topics },
        "Topics for sessions of logged-in users only. Overrides `access.public_topics`.";
    "access.visible_members" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.visible_members },
        "Topics in which a session sees other sessions among the members. In other topics it sees itself, its user's \
        sessions and agents.";


    "heartbeat.interval" => Span { min: Duration::from_millis(10), max: HOUR, at: |d| &mut d.settings.heartbeat.interval },
        "The time between two pings to a peer.";
    "heartbeat.timeout" => Span { min: Duration::from_millis(20), max: DAY, at: |d| &mut d.settings.heartbeat.timeout },
        "A peer that is silent for so long is closed with 4010. Must be longer than the interval.";

    "drain.timeout" => Span { min: Duration::ZERO, max: HOUR, at: |d| &mut d.settings.drain.timeout },
        "At shutdown, connections that are left after this time are cut; 0: at once.";
    "drain.pace" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.drain.pace },
        "Connections closed per second at shutdown, so that clients do not all return at the same moment.";

    "demo.enabled" => Flag { at: |d| &mut d.settings.demo.enabled },
        "Whether the daemon runs the demo agent inside, as `--demo` does.";
    "demo.url" => OptionalText { allowed: WS_URL, check: is_ws_url, at: |d| &mut d.settings.demo.url },
        "The broker that the demo agent dials. Unset: at `broker.addr`.";
    "demo.agent_id" => Text {
        allowed: "1 to 128 characters of `A-Z a-z 0-9 . _ - : / @ +`",
        check: is_agent_id,
        at: |d| &mut d.settings.demo.agent_id,
    },
        "The demo agent's id.";
    "demo.max_concurrency" => Integer { min: 1, max: 10_000, at: |d| &mut d.settings.demo.max_concurrency },
        "Questions that the demo agent answers at the same time; further ones are told that it is busy.";
    "demo.token_pace" => Span { min: Duration::ZERO, max: MINUTE, at: |d| &mut d.settings.demo.token_pace },
        "The time between two tokens of a streamed answer; 0: no wait.";

    "log.filter" | "RUST_LOG" => Text {
        allowed: "a filter such as `info` or `info,transport=debug`",
        check: is_log_filter,
        at: |d| &mut d.settings.log.filter,
    },
        "What is logged, to stderr.";
    "log.format" | "LOG_FORMAT" => Choice {
        words: &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        at: |d| &mut d.settings.log.format,
    },
        "The form of a log line: text for people, or one JSON object.";
};
