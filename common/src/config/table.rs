//! The table of settings: every key, its environment name, its kind with bounds, and its meaning.
//!
//! Parsing, validation, `docs/configuration.md` and `.env.example` come from this table. To add a
//! setting, add a field with its default in [`super::settings`] and a row here.

use std::time::Duration;

use super::checks::{
    is_agent_id, is_authority, is_domain, is_host, is_https_url, is_key_url, is_line, is_log_filter, is_mail_address, is_origin,
    is_pattern, is_topic_pattern, is_visible, is_ws_url,
};
use super::guards::ProxyHeader;
use super::kinds::{
    Address, ChainUrls, Chains, Choice, Flag, Folder, Integer, Keys, List, Networks, OptionalFolder, OptionalText, PerSecond,
    Ratio, SecretText, Size, Span, Text,
};
use super::settings::{CookieSecure, LogFormat};
use super::store_settings::{DefaultDelivery, Durability};
use super::tls::ClientCertificates;

pub(super) use super::setting::{ENV_CONFIG, ENV_PREFIX, SECTIONS, Setting};

/// The row of a key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const HSTS_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;

const PATTERN: &str = "patterns, where `*` is any run of characters and `?` any one";
const HOSTS: &str = "host names without a port, where `*.` at the beginning is any name before";
const SITE: &str = "`host` or `host:port`";
const KEY_URL: &str = "an `https` URL (`http` on loopback)";
const CLAIM: &str = "a claim's name, or a JSON pointer such as `/app_metadata/role`";
const WS_URL: &str = "`ws://host:port` or `wss://host:port`";

/// Rows: `"key" | "WELL_KNOWN_NAME" => Kind {..}, "doc";`. The name is optional.
macro_rules! settings {
    ($($key:literal $(| $env:literal)? => $field:expr, $doc:literal;)*) => {
        &[$(Setting { key: $key, env: settings!(@env $($env)?), field: &$field, doc: $doc }),*]
    };
    (@env) => { None };
    (@env $env:literal) => { Some($env) };
}

/// Every setting, in the order of the reference.
pub(super) static TABLE: &[Setting] = settings! {
    "broker.addr" | "WEBSOCKET_SERVER_ADDR" => Address { at: |d| &mut d.settings.broker.addr },
        "Where the broker listens. Port 0: the system picks one.";
    "broker.workers" => Integer { min: 0, max: 1024, at: |d| &mut d.settings.broker.workers },
        "Worker threads of the broker; 0: one per core.";
    "broker.agent_token" | "AGENT_TOKEN" => SecretText { min_length: 1, at: |d| &mut d.agent_token },
        "The key that agents present; its name in logs is `default`. If this and `broker.agent_keys` are unset, the \
        key is `dev_token`, and the daemon listens on loopback only.";
    "broker.agent_keys" | "AGENT_KEYS" => Keys { at: |d| &mut d.named_keys },
        "Several keys with names, all valid at once. To rotate, add the new one, move the agents, remove the old one.";
    "broker.allow_dev_key" => Flag { at: |d| &mut d.settings.broker.allow_dev_key },
        "Whether the development key may be used on addresses that are not loopback. Everyone who reads these pages \
        knows that key.";
    "broker.bridge_secret" | "BRIDGE_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.broker.bridge_secret },
        "Signs what the edge tells the broker about a session; broker and edge need the same. Unset: created once and \
        kept in `secrets.json` in the data folder.";
    "broker.operator_token" | "OPERATOR_TOKEN" => SecretText { min_length: 16, at: |d| &mut d.settings.broker.operator_token },
        "Opens the operators' API (`/api/v1/…` of the broker) and `/stats` of broker and edge, as `Authorization: \
        Bearer`. Unset: that API is closed; `/stats` answers only this machine, if it listens on loopback and no \
        proxies are trusted.";
    "broker.tls_cert_file" => OptionalFolder { at: |d| &mut d.settings.broker.tls.cert_file },
        "The certificate chain of the broker, PEM. With it the broker speaks TLS only. Read again when it changes.";
    "broker.tls_key_file" => OptionalFolder { at: |d| &mut d.settings.broker.tls.key_file },
        "The key of that certificate, PEM. Unset: in the same file.";
    "broker.tls_acme" => Flag { at: |d| &mut d.settings.broker.tls.acme },
        "Whether the broker's certificate is ordered by ACME instead of read from files.";
    "broker.client_ca_file" => OptionalFolder { at: |d| &mut d.settings.broker.client_ca_file },
        "The authorities of agents' certificates, PEM. Unset: agents are not asked for a certificate. An agent needs \
        its key all the same.";
    "broker.client_certificates" => Choice {
        words: &[("optional", ClientCertificates::Optional), ("required", ClientCertificates::Required)],
        at: |d| &mut d.settings.broker.client_certificates,
    },
        "Whether an agent without a certificate is refused. A certificate that is shown is always checked.";
    "broker.client_names" => Flag { at: |d| &mut d.settings.broker.client_names },
        "Whether an agent that shows a certificate may register only under an id that is one of the certificate's \
        names.";
    "broker.ca_file" => OptionalFolder { at: |d| &mut d.settings.broker.ca_file },
        "The authorities of the broker's own certificate, PEM, for the edge and the demo agent that dial it by \
        `wss://`. Unset: the system's.";
    "broker.hosts" => List { allowed: HOSTS, check: is_host, at: |d| &mut d.settings.broker.hosts },
        "Further names under which the broker answers (`Host`). It always answers to IP addresses, `localhost`, the \
        names in `acme.domains`, `auth.siwe_domain` and `web.allowed_origins`, and to requests with an agent key, \
        the operator token or an edge's assertion. Other requests get 421 `host_not_allowed`.";

    "web.addr" | "WEB_SERVER_ADDR" => Address { at: |d| &mut d.settings.web.addr },
        "Where the edge listens. Port 0: the system picks one.";
    "web.workers" => Integer { min: 0, max: 1024, at: |d| &mut d.settings.web.workers },
        "Worker threads of the edge; 0: one per core.";
    "web.broker_url" | "BROKER_URL" => OptionalText { allowed: WS_URL, check: is_ws_url, at: |d| &mut d.settings.web.broker_url },
        "Where the edge dials the broker. Unset: at `broker.addr`, `ws://127.0.0.1:8080` by default.";
    "web.static_path" | "STATIC_ASSETS_PATH" => OptionalFolder { at: |d| &mut d.settings.web.static_path },
        "The folder of the app that the edge serves. Unset: the copy built into the binary.";
    "web.session_secret" | "SESSION_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.web.session_secret },
        "Signs session tokens; a new one ends every session. Unset: created once and kept in `secrets.json` in the \
        data folder.";
    "web.session_ttl" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.web.session_ttl },
        "How long a session's token is valid.";
    "web.cookie_secure" => Choice {
        words: &[("auto", CookieSecure::Auto), ("true", CookieSecure::Always), ("false", CookieSecure::Never)],
        at: |d| &mut d.settings.web.cookie_secure,
    },
        "Whether session cookies carry `Secure`. `auto`: yes, unless the site is opened without TLS under `localhost` \
        or a loopback address. `false`: for browsers that use plain http; everybody on the way can then read their \
        sessions. Refused beyond loopback.";
    "web.allowed_origins" => List {
        allowed: "`scheme://host[:port]`",
        check: is_origin,
        at: |d| &mut d.settings.web.allowed_origins,
    },
        "Origins, besides its own, from which browsers may connect. Empty: only its own.";
    "web.hosts" => List { allowed: HOSTS, check: is_host, at: |d| &mut d.settings.web.hosts },
        "Further names under which the edge answers (`Host`). It always answers to IP addresses, `localhost`, the \
        names in its TLS certificate (as read at the start), and those in `acme.domains`, `auth.siwe_domain` and \
        `web.allowed_origins`. Other requests get 421 `host_not_allowed`, so that no site can lead its visitors' \
        browsers here under its own name.";
    "web.reconnect_min" => Span { min: MS, max: HOUR, at: |d| &mut d.settings.web.reconnect_min },
        "The first bound of the random wait before the broker is dialled again; it doubles each time.";
    "web.reconnect_max" => Span { min: MS, max: HOUR, at: |d| &mut d.settings.web.reconnect_max },
        "The last bound of the random wait before the broker is dialled again. When the broker has answered for 2 s \
        again, all sessions of an edge dial within 3 s, whatever their waits are.";
    "web.upstream_queue_bytes" => Size { min: 0, max: GIB, at: |d| &mut d.settings.web.upstream_queue_bytes },
        "Bytes of a browser's frames that are kept while the broker is away; 0: none.";
    "web.tls_cert_file" => OptionalFolder { at: |d| &mut d.settings.web.tls.cert_file },
        "The certificate chain of the edge, PEM. With it the edge speaks TLS only. Read again when it changes.";
    "web.tls_key_file" => OptionalFolder { at: |d| &mut d.settings.web.tls.key_file },
        "The key of that certificate, PEM. Unset: in the same file.";
    "web.tls_acme" => Flag { at: |d| &mut d.settings.web.tls.acme },
        "Whether the edge's certificate is ordered by ACME instead of read from files.";
    "web.hsts" => Span { min: Duration::ZERO, max: HSTS_MAX, at: |d| &mut d.settings.web.hsts },
        "How long browsers remember to use https only (`Strict-Transport-Security`). Sent if the edge speaks TLS \
        itself; 0: not sent.";

    "proxies.trusted" | "TRUSTED_PROXIES" => Networks { at: |d| &mut d.settings.proxies.trusted },
        "Proxies that are believed about a client's address. Empty: none, the address is the connection's.";
    "proxies.header" => Choice {
        words: &[("x-forwarded-for", ProxyHeader::XForwardedFor), ("forwarded", ProxyHeader::Forwarded)],
        at: |d| &mut d.settings.proxies.header,
    },
        "The header in which they name the client. Each of them must set or extend it; the other header is ignored. \
        The scheme is in the same header (`proto`) or in `X-Forwarded-Proto`; the host is what they pass on as \
        `Host`.";
    "proxies.web_protocol" => Flag { at: |d| &mut d.settings.proxies.web_protocol },
        "Whether connections of trusted proxies to the edge begin with the PROXY protocol, version 1 or 2. Those that \
        do not are then closed.";
    "proxies.broker_protocol" => Flag { at: |d| &mut d.settings.proxies.broker_protocol },
        "The same for connections to the broker.";

    "auth.siwe_domain" | "SIWE_DOMAIN" => OptionalText { allowed: SITE, check: is_authority, at: |d| &mut d.settings.auth.siwe_domain },
        "The site as browsers show it, for the message that a wallet signs (Sign-In with Ethereum). Unset: the edge's \
        own address if that is loopback; elsewhere wallets then cannot log in.";
    "auth.siwe_uri" => OptionalText { allowed: "a URI", check: is_visible, at: |d| &mut d.settings.auth.siwe_uri },
        "The URI of the login in that message. Unset: `https://` and the domain, on loopback `http://`.";
    "auth.siwe_statement" => OptionalText { allowed: "a line of text", check: is_line, at: |d| &mut d.settings.auth.siwe_statement },
        "The statement in that message, for the person. Unset: none.";
    "auth.siwe_chains" => Chains { at: |d| &mut d.settings.auth.siwe_chains },
        "The chains (EIP-155) whose wallets may log in.";
    "auth.siwe_ttl" => Span { min: Duration::from_secs(10), max: HOUR, at: |d| &mut d.settings.auth.siwe_ttl },
        "How long a person may take to sign.";
    "auth.eth_rpc_urls" | "ETH_RPC_URL" => ChainUrls { check: is_key_url, at: |d| &mut d.settings.auth.eth_rpc_urls },
        "For each chain, the node that is asked whether a contract wallet accepts a signature (EIP-1271). Empty: \
        contract wallets cannot log in.";
    "auth.jwt_issuer" | "JWT_ISSUER" => List { allowed: "visible characters", check: is_visible, at: |d| &mut d.settings.auth.jwt_issuers },
        "The value of `iss` in tokens, exactly; several if the issuer has several names. Empty: no issuer's tokens \
        are accepted.";
    "auth.jwt_audience" | "JWT_AUDIENCE" => List {
        allowed: "visible characters",
        check: is_visible,
        at: |d| &mut d.settings.auth.jwt_audiences,
    },
        "The audiences, of which a token must have one in `aud`. Required with an issuer.";
    "auth.jwt_secret" | "JWT_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.auth.jwt_secret },
        "The secret that the issuer signs with (HMAC: HS256, or what `auth.jwt_algorithms` says). Unset: the issuer \
        has published keys.";
    "auth.jwks_url" | "JWKS_URL" => OptionalText { allowed: KEY_URL, check: is_key_url, at: |d| &mut d.settings.auth.jwks_url },
        "Where the issuer publishes its keys (a JWK set). Fetched when needed, kept, and fetched again if none of \
        them fits a token.";
    "auth.jwks_file" | "JWKS_FILE" => OptionalFolder { at: |d| &mut d.settings.auth.jwks_file },
        "The file with the issuer's keys (a JWK set), instead of `auth.jwks_url`. Read again in the same cases.";
    "auth.jwks_least_interval" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.auth.jwks_least_interval },
        "The least time between two fetches of those keys: invented key ids and wrong signatures cause no more. A new \
        key is known after this time.";
    "auth.jwks_stale_for" => Span { min: Duration::ZERO, max: Duration::from_secs(7 * 86_400), at: |d| &mut d.settings.auth.jwks_stale_for },
        "How long those keys stay valid if the issuer does not answer, after they should have been fetched again (10 \
        min). A key that the issuer removes meanwhile stays valid as long; if the issuer answers, for 10 min at \
        most.";
    "auth.jwt_algorithms" => List { allowed: "algorithms", check: is_visible, at: |d| &mut d.settings.auth.jwt_algorithms },
        "The algorithms that the issuer may use. Empty: HS256 with a secret; RS256, PS256, ES256, ES384 and EdDSA \
        with published keys. Also supported: HS384, HS512, RS384, RS512, PS384 and PS512.";
    "auth.jwt_leeway" => Span { min: Duration::ZERO, max: Duration::from_secs(300), at: |d| &mut d.settings.auth.jwt_leeway },
        "How far the issuer's clock may differ.";
    "auth.jwt_user_claim" => Text { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_user_claim },
        "The claim of a token that holds the user.";
    "auth.jwt_user_prefix" => OptionalText {
        allowed: "characters of `A-Z a-z 0-9 . _ - : / @ +`",
        check: is_agent_id,
        at: |d| &mut d.settings.auth.jwt_user_prefix,
    },
        "Prefix of the ids of the issuer's users. Ids of users with a wallet begin with `wallet:`, which no issuer \
        can assign.";
    "auth.jwt_wallet_claim" => OptionalText { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_wallet_claim },
        "The claim of a token that holds the user's wallet, if the issuer vouches for one.";
    "auth.jwt_scope_claims" => List { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_scope_claims },
        "The claims of a token that hold scopes: texts separated by spaces, or lists. All are combined.";

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
        "Requests of one address for `/stats` and `/api/v1/…`, to broker and edge each; the next is refused with 429 \
        and `Retry-After`.";
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

    "data.dir" | "DATA_DIR" => Folder { at: |d| &mut d.settings.data.dir },
        "The folder for what outlives the process. Created when needed, readable by its owner only.";

    "store.durability" => Choice {
        words: &[("fsync", Durability::Fsync), ("process", Durability::Process), ("memory", Durability::Memory)],
        at: |d| &mut d.settings.store.durability,
    },
        "What the confirmation of a durable message means. `fsync`: it is on the disk. `process`: it survives `kill \
        -9`, but not a power loss. `memory`: it is in memory.";
    "store.default_delivery" => Choice {
        words: &[("durable", DefaultDelivery::Durable), ("ephemeral", DefaultDelivery::Ephemeral)],
        at: |d| &mut d.settings.store.default_delivery,
    },
        "The class of a message to an agent, session or user whose sender names none. Requests (`timeout_ms`) are \
        ephemeral in any case.";
    "store.durable_topics" => List {
        allowed: "names of topics, or beginnings of names followed by `*`",
        check: is_topic_pattern,
        at: |d| &mut d.settings.store.durable_topics,
    },
        "Topics whose messages are durable, unless their sender says otherwise.";
    "store.ack_timeout" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.store.ack_timeout },
        "How long a receiver with `ack=explicit` may take before a durable message is delivered again. Doubles with \
        each delivery, up to an hour.";
    "store.max_deliveries" => Integer { min: 1, max: 1000, at: |d| &mut d.settings.store.max_deliveries },
        "How often a durable message is delivered before it goes to the dead letters.";
    "store.position_check" => Span { min: Duration::from_millis(100), max: HOUR, at: |d| &mut d.settings.store.position_check },
        "How often the positions of readers of topics and broadcasts are compared with the newest message. A reader \
        that turns out to be behind continues from the log.";
    "store.inbox_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.inbox.messages },
        "The number of unacknowledged messages that an inbox keeps, and as many acknowledged ones; 0: no bound.";
    "store.inbox_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.inbox.bytes },
        "The number of unacknowledged bytes that an inbox keeps, and as many acknowledged ones; 0: no bound.";
    "store.inbox_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.inbox.age },
        "How long an inbox keeps its messages; 0: for ever.";
    "store.topic_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.topic.messages },
        "The number of messages that the log of a topic or broadcast keeps; 0: no bound.";
    "store.topic_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.topic.bytes },
        "The number of bytes that the log of a topic or broadcast keeps; 0: no bound.";
    "store.topic_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.topic.age },
        "How long the log of a topic or broadcast keeps its messages; 0: for ever.";
    "store.dead_letters_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.dead_letters.messages },
        "The number of messages that a channel of dead letters keeps; 0: no bound.";
    "store.dead_letters_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.dead_letters.bytes },
        "The number of bytes that a channel of dead letters keeps; 0: no bound.";
    "store.dead_letters_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.dead_letters.age },
        "How long a channel of dead letters keeps its messages; 0: for ever.";
    "store.forget_sessions" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.forget_sessions },
        "A session that was not connected for so long is forgotten; what waits for it goes to the dead letters.";
    "store.max_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.max_bytes },
        "Bytes of messages in the whole store; beyond, durable messages are refused with `store_full`. Anonymous \
        sessions may fill half of it with waiting messages and logs of topics, users three quarters. Acknowledged \
        messages and dead letters use what is left free. 0: no bound but the disk.";
    "store.disk_reserve" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.disk_reserve },
        "Bytes that stay free on the data folder's disk, a tenth of the disk at most. With less, durable messages are \
        refused with `store_full`; agents may use half of the reserve. 0: none.";
    "store.session_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.session_quota.messages },
        "Durable messages that a session may have stored, in inboxes and in logs of topics; more are refused with \
        `quota_exceeded`. 0: no bound.";
    "store.session_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.session_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.user_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.user_quota.messages },
        "Durable messages that a user, over all sessions, may have stored, in inboxes and in logs of topics; more are \
        refused with `quota_exceeded`. 0: no bound.";
    "store.user_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.user_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.address_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.address_quota.messages },
        "Durable messages that the sessions of one client address may have stored, in inboxes and in logs of topics; \
        more are refused with `quota_exceeded`. 0: no bound.";
    "store.address_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.address_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.key_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.key_quota.messages },
        "Durable messages that the agents with one key may have stored, in inboxes and in logs of topics; more are \
        refused with `quota_exceeded`. 0: no bound.";
    "store.key_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.key_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.audit" => Flag { at: |d| &mut d.settings.store.audit },
        "Whether the audit log is written: connections, authentications, refusals, administrative acts.";
    "store.audit_payloads" => Flag { at: |d| &mut d.settings.store.audit_payloads },
        "Whether entries of the audit log about refused messages contain those messages, up to 16 KiB of each.";
    "store.audit_age" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.audit_age },
        "How long entries of the audit log are kept; of more than 1,000,000 the oldest go first.";

    "acme.domains" => List { allowed: "DNS names", check: is_domain, at: |d| &mut d.settings.acme.domains },
        "The names to order a certificate for. Each must lead to a listener of this bridge, on port 443 from outside.";
    "acme.directory_url" => Text { allowed: "`https://...`", check: is_https_url, at: |d| &mut d.settings.acme.directory_url },
        "The directory of the certificate authority; the default is Let's Encrypt.";
    "acme.ca_file" => OptionalFolder { at: |d| &mut d.settings.acme.ca_file },
        "The authorities of the directory's own certificate, PEM. Unset: the system's.";
    "acme.contact" => OptionalText { allowed: "an e-mail address", check: is_mail_address, at: |d| &mut d.settings.acme.contact },
        "Where the authority may write to about the certificates.";
    "acme.agree_terms" => Flag { at: |d| &mut d.settings.acme.agree_terms },
        "Whether you agree to the authority's terms of service. Required to order certificates.";
};
