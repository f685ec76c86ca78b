//! The table of settings: every key, its environment name, its kind with bounds, and what it means.
//!
//! Parsing, validation, `docs/configuration.md` and `.env.example` all come from here. To add a setting, add a field with its
//! default in [`super::settings`] and a row here.

use std::time::Duration;

use super::checks::{
    is_agent_id, is_authority, is_domain, is_host, is_https_url, is_key_url, is_line, is_log_filter, is_mail_address, is_origin,
    is_pattern, is_topic_pattern, is_visible, is_ws_url,
};
use super::guards::ProxyHeader;
use super::kinds::{
    Address, ChainUrls, Chains, Choice, Field, Flag, Folder, Integer, Keys, List, Networks, OptionalFolder, OptionalText,
    PerSecond, Ratio, SecretText, Size, Span, Text,
};
use super::settings::{CookieSecure, LogFormat};
use super::store_settings::{DefaultDelivery, Durability};
use super::tls::ClientCertificates;

/// One setting.
pub(super) struct Setting {
    /// `section.name`, as in the file.
    pub key: &'static str,
    /// The well-known environment name, where there is one besides the generic name.
    pub env: Option<&'static str>,
    /// Its kind, bound to its field.
    pub field: &'static dyn Field,
    /// What it means: unit, and what zero or empty means.
    pub doc: &'static str,
}

impl Setting {
    /// The environment name that every setting has: `AGENT_BRIDGE_SECTION__NAME`.
    pub fn generic_env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.key.replace('.', "__").to_ascii_uppercase())
    }

    /// The environment name to show first.
    pub fn main_env(&self) -> String {
        self.env.map_or_else(|| self.generic_env(), str::to_owned)
    }

    /// The part of the key before the dot.
    pub fn section(&self) -> &'static str {
        self.key.split('.').next().unwrap_or_default()
    }
}

/// What the generic environment names begin with.
pub(super) const ENV_PREFIX: &str = "AGENT_BRIDGE_";

/// The environment name that names the configuration file, as `--config` does.
pub(super) const ENV_CONFIG: &str = "AGENT_BRIDGE_CONFIG";

/// The sections in order, each with its heading.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("broker", "Broker"),
    ("web", "Edge"),
    ("auth", "Logins"),
    ("proxies", "Proxies in front"),
    ("limits", "Limits"),
    ("rates", "Rates"),
    ("access", "What sessions may reach"),
    ("heartbeat", "Heartbeat"),
    ("drain", "Drain"),
    ("demo", "Demo agent"),
    ("log", "Logging"),
    ("data", "Data"),
    ("store", "Durable messages"),
    ("acme", "Certificates by ACME"),
];

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

/// Rows: `"key" | "WELL_KNOWN_NAME" => Kind {..}, "doc";`, the name where there is one.
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
        "The key agents present, known in logs by the name `default`. Unset, and without `broker.agent_keys`: the development key \
        `dev_token`, with which nothing but loopback is bound.";
    "broker.agent_keys" | "AGENT_KEYS" => Keys { at: |d| &mut d.named_keys },
        "Several keys with names, all good at once: to rotate, add the new one, move the agents, remove the old one.";
    "broker.allow_dev_key" => Flag { at: |d| &mut d.settings.broker.allow_dev_key },
        "Whether the development key may be used on addresses that are not loopback. Anyone who reads these pages knows that key.";
    "broker.bridge_secret" | "BRIDGE_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.broker.bridge_secret },
        "Signs what the edge tells the broker about a session; broker and edge need the same. Unset: made once and kept in \
        `secrets.json` in the data folder.";
    "broker.operator_token" | "OPERATOR_TOKEN" => SecretText { min_length: 16, at: |d| &mut d.settings.broker.operator_token },
        "Opens the operators' API (`/api/v1/…` of the broker) and `/stats` of broker and edge, presented as `Authorization: Bearer`. Unset: \
        that API is closed, and `/stats` answers this machine alone, where it listens on loopback and no proxies are trusted.";
    "broker.tls_cert_file" => OptionalFolder { at: |d| &mut d.settings.broker.tls.cert_file },
        "The certificate chain of the broker, PEM; with it the broker speaks TLS only. Read again when it changes.";
    "broker.tls_key_file" => OptionalFolder { at: |d| &mut d.settings.broker.tls.key_file },
        "The key of that certificate, PEM. Unset: in the same file.";
    "broker.tls_acme" => Flag { at: |d| &mut d.settings.broker.tls.acme },
        "Whether the broker's certificate is ordered by ACME, instead of files.";
    "broker.client_ca_file" => OptionalFolder { at: |d| &mut d.settings.broker.client_ca_file },
        "The authorities of agents' certificates, PEM. Unset: agents are not asked for a certificate. An agent needs its key all the same.";
    "broker.client_certificates" => Choice {
        words: &[("optional", ClientCertificates::Optional), ("required", ClientCertificates::Required)],
        at: |d| &mut d.settings.broker.client_certificates,
    },
        "Whether an agent without a certificate is refused. One that is shown is always checked.";
    "broker.client_names" => Flag { at: |d| &mut d.settings.broker.client_names },
        "Whether an agent that shows a certificate may only register under an id that is one of the certificate's names.";
    "broker.ca_file" => OptionalFolder { at: |d| &mut d.settings.broker.ca_file },
        "The authorities of the broker's own certificate, PEM, for the edge and the demo agent that dial it by `wss://`. Unset: those the system \
        trusts.";
    "broker.hosts" => List { allowed: HOSTS, check: is_host, at: |d| &mut d.settings.broker.hosts },
        "Further names under which the broker answers (`Host`). It always answers to IP addresses, to `localhost`, to the names in \
        `acme.domains`, `auth.siwe_domain` and `web.allowed_origins`, and to whoever shows an agent's key, the operators' token or an edge's \
        assertion. Any other request is refused with 421 `host_not_allowed`.";

    "web.addr" | "WEB_SERVER_ADDR" => Address { at: |d| &mut d.settings.web.addr },
        "Where the edge listens. Port 0: the system picks one.";
    "web.workers" => Integer { min: 0, max: 1024, at: |d| &mut d.settings.web.workers },
        "Worker threads of the edge; 0: one per core.";
    "web.broker_url" | "BROKER_URL" => OptionalText { allowed: WS_URL, check: is_ws_url, at: |d| &mut d.settings.web.broker_url },
        "Where the edge dials the broker. Unset: at `broker.addr`, `ws://127.0.0.1:8080` by default.";
    "web.static_path" | "STATIC_ASSETS_PATH" => OptionalFolder { at: |d| &mut d.settings.web.static_path },
        "The folder of the app that the edge serves. Unset: the copy built into the binary.";
    "web.session_secret" | "SESSION_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.web.session_secret },
        "Signs session tokens; a new one ends every session. Unset: made once and kept in `secrets.json` in the data folder.";
    "web.session_ttl" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.web.session_ttl },
        "How long a session's token is good for.";
    "web.cookie_secure" => Choice {
        words: &[("auto", CookieSecure::Auto), ("true", CookieSecure::Always), ("false", CookieSecure::Never)],
        at: |d| &mut d.settings.web.cookie_secure,
    },
        "Whether session cookies carry `Secure`; `auto`: unless the site is opened in the clear under `localhost` or a loopback address. `false` where \
        browsers come over plain http all the same, and everybody on the way may read their sessions: not beyond loopback.";
    "web.allowed_origins" => List {
        allowed: "`scheme://host[:port]`",
        check: is_origin,
        at: |d| &mut d.settings.web.allowed_origins,
    },
        "Origins besides its own from which browsers may connect. Empty: its own only.";
    "web.hosts" => List { allowed: HOSTS, check: is_host, at: |d| &mut d.settings.web.hosts },
        "Further names under which the edge answers (`Host`). It always answers to IP addresses, to `localhost`, to the names in its \
        TLS certificate (as read at the start), and to those in `acme.domains`, `auth.siwe_domain` and `web.allowed_origins`. Any other request is refused with 421 `host_not_allowed`, so that no \
        site can lead its visitors' browsers here under a name of its own.";
    "web.reconnect_min" => Span { min: MS, max: HOUR, at: |d| &mut d.settings.web.reconnect_min },
        "The first bound of the random wait before the broker is redialled; it doubles each time.";
    "web.reconnect_max" => Span { min: MS, max: HOUR, at: |d| &mut d.settings.web.reconnect_max },
        "The last bound of the random wait before the broker is redialled. When the broker has answered for 2 s again, all sessions of an edge dial within 3 s, \
        however long their waits were to be.";
    "web.upstream_queue_bytes" => Size { min: 0, max: GIB, at: |d| &mut d.settings.web.upstream_queue_bytes },
        "Bytes of a browser's frames kept while the broker is away; 0: none.";
    "web.tls_cert_file" => OptionalFolder { at: |d| &mut d.settings.web.tls.cert_file },
        "The certificate chain of the edge, PEM; with it the edge speaks TLS only. Read again when it changes.";
    "web.tls_key_file" => OptionalFolder { at: |d| &mut d.settings.web.tls.key_file },
        "The key of that certificate, PEM. Unset: in the same file.";
    "web.tls_acme" => Flag { at: |d| &mut d.settings.web.tls.acme },
        "Whether the edge's certificate is ordered by ACME, instead of files.";
    "web.hsts" => Span { min: Duration::ZERO, max: HSTS_MAX, at: |d| &mut d.settings.web.hsts },
        "How long browsers remember to come by https only (`Strict-Transport-Security`), told where the edge speaks TLS itself; 0: they are not told.";

    "proxies.trusted" | "TRUSTED_PROXIES" => Networks { at: |d| &mut d.settings.proxies.trusted },
        "Proxies whose word about a client's address is taken. Empty: nobody's, the address is the connection's.";
    "proxies.header" => Choice {
        words: &[("x-forwarded-for", ProxyHeader::XForwardedFor), ("forwarded", ProxyHeader::Forwarded)],
        at: |d| &mut d.settings.proxies.header,
    },
        "The header in which they name the client. Each of them must set or extend it; the other one is never looked at. \
        The scheme is in the same header (`proto`), or in `X-Forwarded-Proto`; the host is what they pass on as `Host`.";
    "proxies.web_protocol" => Flag { at: |d| &mut d.settings.proxies.web_protocol },
        "Whether connections of trusted proxies to the edge begin with the PROXY protocol, version 1 or 2. Those that do not are then closed.";
    "proxies.broker_protocol" => Flag { at: |d| &mut d.settings.proxies.broker_protocol },
        "The same for connections to the broker.";

    "auth.siwe_domain" | "SIWE_DOMAIN" => OptionalText { allowed: SITE, check: is_authority, at: |d| &mut d.settings.auth.siwe_domain },
        "Who asks in the message that a wallet signs (Sign-In with Ethereum): the site as browsers show it. Unset: the edge's own \
        address where that is loopback; elsewhere there is then no login with a wallet.";
    "auth.siwe_uri" => OptionalText { allowed: "a URI", check: is_visible, at: |d| &mut d.settings.auth.siwe_uri },
        "What the message says that the login is for. Unset: `https://` and the domain, on loopback `http://`.";
    "auth.siwe_statement" => OptionalText { allowed: "a line of text", check: is_line, at: |d| &mut d.settings.auth.siwe_statement },
        "What the message says to the person. Unset: nothing.";
    "auth.siwe_chains" => Chains { at: |d| &mut d.settings.auth.siwe_chains },
        "The chains (EIP-155) on which a wallet may be.";
    "auth.siwe_ttl" => Span { min: Duration::from_secs(10), max: HOUR, at: |d| &mut d.settings.auth.siwe_ttl },
        "How long a person may take to sign.";
    "auth.eth_rpc_urls" | "ETH_RPC_URL" => ChainUrls { check: is_key_url, at: |d| &mut d.settings.auth.eth_rpc_urls },
        "The nodes that are asked whether a contract wallet accepts a signature (EIP-1271), by chain. Empty: contract wallets cannot log in.";
    "auth.jwt_issuer" | "JWT_ISSUER" => List { allowed: "visible characters", check: is_visible, at: |d| &mut d.settings.auth.jwt_issuers },
        "What tokens must have as `iss`, exactly; several, if the issuer has several names. Empty: no issuer's tokens are trusted.";
    "auth.jwt_audience" | "JWT_AUDIENCE" => List {
        allowed: "visible characters",
        check: is_visible,
        at: |d| &mut d.settings.auth.jwt_audiences,
    },
        "What tokens must have among `aud`, one of these. Needed with an issuer.";
    "auth.jwt_secret" | "JWT_SECRET" => SecretText { min_length: 32, at: |d| &mut d.settings.auth.jwt_secret },
        "The secret that the issuer signs with (HMAC: HS256, or what `auth.jwt_algorithms` says). Unset: the issuer has published keys.";
    "auth.jwks_url" | "JWKS_URL" => OptionalText { allowed: KEY_URL, check: is_key_url, at: |d| &mut d.settings.auth.jwks_url },
        "Where the issuer publishes its keys (a JWK set). Fetched when needed, kept, and fetched again when none of them fits a token.";
    "auth.jwks_file" | "JWKS_FILE" => OptionalFolder { at: |d| &mut d.settings.auth.jwks_file },
        "The file with the issuer's keys (a JWK set), instead of `auth.jwks_url`. Read again like that.";
    "auth.jwks_least_interval" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.auth.jwks_least_interval },
        "The least time between two fetches of those keys, whatever asks for them: invented key ids and wrong signatures cause no more. How soon a new key is known.";
    "auth.jwks_stale_for" => Span { min: Duration::ZERO, max: Duration::from_secs(7 * 86_400), at: |d| &mut d.settings.auth.jwks_stale_for },
        "How long those keys stay good after they should have been fetched again (10 min), while the issuer does not answer. A key that it removes \
        meanwhile is good for as long; while it answers, for 10 min at most.";
    "auth.jwt_algorithms" => List { allowed: "algorithms", check: is_visible, at: |d| &mut d.settings.auth.jwt_algorithms },
        "The algorithms that the issuer may use. Empty: HS256 with a secret; RS256, PS256, ES256, ES384 and EdDSA with published keys. There are also HS384 and \
        HS512, and RS384, RS512, PS384 and PS512; not ES512 and ES256K.";
    "auth.jwt_leeway" => Span { min: Duration::ZERO, max: Duration::from_secs(300), at: |d| &mut d.settings.auth.jwt_leeway },
        "How far the issuer's clock may differ.";
    "auth.jwt_user_claim" => Text { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_user_claim },
        "Where in a token the user is.";
    "auth.jwt_user_prefix" => OptionalText {
        allowed: "characters of `A-Z a-z 0-9 . _ - : / @ +`",
        check: is_agent_id,
        at: |d| &mut d.settings.auth.jwt_user_prefix,
    },
        "What the ids of the issuer's users begin with. Users who log in with a wallet begin with `wallet:`, which no issuer can give.";
    "auth.jwt_wallet_claim" => OptionalText { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_wallet_claim },
        "Where in a token the user's wallet is, if the issuer vouches for one.";
    "auth.jwt_scope_claims" => List { allowed: CLAIM, check: is_visible, at: |d| &mut d.settings.auth.jwt_scope_claims },
        "Where in a token the scopes are: texts separated by spaces, or lists; all are put together.";

    "limits.max_connections" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.limits.max_connections },
        "Connections in all; the next is refused with 503. Each takes a file descriptor.";
    "limits.max_handshakes" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_handshakes },
        "HTTP connections and handshakes at once, without the WebSockets; at the edge, of each worker thread. More wait in the kernel to be accepted.";
    "limits.handshake_timeout" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.limits.handshake_timeout },
        "Time for the HTTP request head; then the connection is closed.";
    "limits.request_timeout" => Span { min: SECOND, max: HOUR, at: |d| &mut d.settings.limits.request_timeout },
        "Time for a whole HTTP request, head and body; then it is answered with 408. Also how long an answer waits for a client that reads nothing, or less than 4 KiB/s over the whole answer; then the connection is closed.";
    "limits.max_frame_bytes" => Size { min: KIB, max: GIB, at: |d| &mut d.settings.limits.max_frame_bytes },
        "Bytes of a frame, and of a message of several fragments; a larger one closes its connection with 1009.";
    "limits.max_client_frame_bytes" => Size { min: 0, max: GIB, at: |d| &mut d.settings.limits.max_client_frame_bytes },
        "The same for sessions, at the edge and at the broker, at least 32KiB. 0: as `limits.max_frame_bytes`, which holds for agents in any case.";
    "limits.max_fragments" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_fragments },
        "Fragments in a message; one more closes the connection with 1009.";
    "limits.max_depth" => Integer { min: 2, max: 1024, at: |d| &mut d.settings.limits.max_depth },
        "Nesting of JSON in an envelope; a deeper one is invalid.";
    "limits.max_bad_frames" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.max_bad_frames },
        "Invalid envelopes in a row; then the connection is closed with 4400.";
    "limits.outbox_bytes" => Size { min: KIB, max: GIB, at: |d| &mut d.settings.limits.outbox_bytes },
        "Bytes that wait for a peer that does not read; what does not fit is dropped, counted and told.";
    "limits.slow_consumer_timeout" => Span {
        min: Duration::from_millis(100),
        max: HOUR,
        at: |d| &mut d.settings.limits.slow_consumer_timeout,
    },
        "How long a peer may stay behind; then it is closed with 4008.";
    "limits.flow_control_burst" => Span { min: Duration::ZERO, max: MINUTE, at: |d| &mut d.settings.limits.flow_control_burst },
        "How long those who send to a slow peer may be paused at once; 0: never.";
    "limits.flow_control_share" => Ratio { at: |d| &mut d.settings.limits.flow_control_share },
        "The share of time for which those who send to a slow peer may be paused in the long run; 0: none after the burst.";
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
        "The part of each table that all connections use (topics, open requests, messages that wait for inboxes to be opened, readings of the past) that one session may have, at least 16 places. 1: no share of its own.";
    "limits.user_share" => Ratio { at: |d| &mut d.settings.limits.user_share },
        "The same for one user, over all sessions.";
    "limits.address_share" => Ratio { at: |d| &mut d.settings.limits.address_share },
        "The same for all sessions of one address, also of the 2,000,000 subscriptions there may be. Addresses in `limits.exempt_networks` have no share.";
    "limits.key_share" => Ratio { at: |d| &mut d.settings.limits.key_share },
        "The same for all agents with one key.";
    "limits.agents_reserve" => Ratio { at: |d| &mut d.settings.limits.agents_reserve },
        "The part of each of these tables, and of the connections, that sessions leave to agents, however many sessions there are.";
    "limits.free_failures" => Integer { min: 1, max: 1_000_000, at: |d| &mut d.settings.limits.free_failures },
        "Wrong keys, logins or tokens of one address that cost nothing; their count halves with time (`limits.failure_half_life`).";
    "limits.first_failure_wait" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.limits.first_failure_wait },
        "How long an address waits after one more; it doubles with each. Meanwhile its wrong credentials are refused with 429, and keys that \
        could be guessed are not looked at.";
    "limits.longest_failure_wait" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.limits.longest_failure_wait },
        "The longest such wait.";
    "limits.failure_half_life" => Span { min: SECOND, max: DAY, at: |d| &mut d.settings.limits.failure_half_life },
        "In this time the count of an address's failures halves: how soon its waits are forgotten.";
    "limits.exempt_networks" => Networks { at: |d| &mut d.settings.limits.exempt_networks },
        "Addresses to which no limit per address applies. A proxy on this machine that is not in `proxies.trusted` makes everybody such an address.";

    "rates.address_connections" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.address_connections },
        "New connections of one address to one listener; the next is closed unread.";
    "rates.registrations" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.registrations },
        "New sessions of one address; the next is refused with 429 and `Retry-After`.";
    "rates.logins" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.logins },
        "Steps of logins of one session, and failed logins of one address; the next is refused with 429 and `Retry-After`. What is good is let in \
        whatever else fails at its address. Also the refusals (401, 403) of one address that the audit log notes; the next are counted.";
    "rates.checks" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.checks },
        "Signatures of issuers and wallets that are checked for one address; the next is refused with 429 and `Retry-After`. Bounds what forged \
        tokens may cost. For all addresses together there are 5000 a second, and as many more for addresses without failures.";
    "rates.sessions" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.sessions },
        "Requests of one session about itself (confirm, describe, refresh, end), and of one address that prove no session; the next is refused with 429 and `Retry-After`.";
    "rates.operators" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.operators },
        "Requests of one address for `/stats` and `/api/v1/…`, to broker and edge each; the next is refused with 429 and `Retry-After`.";
    "rates.session_messages" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.session_messages },
        "Frames of one session. Beyond it the session's connections are not read for a while.";
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
        "How long a connection may go on wanting more than its rates allow; then it is closed with 4029. 0: it is only slowed.";
    "rates.answers" => PerSecond { is_size: false, at: |d| &mut d.settings.rates.answers },
        "Answers to answers in one chain of messages; the next is refused with `loop_stopped`. 0: loops are not looked for.";

    "access.public_agents" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.public_agents },
        "Agents that every session sees and may write to.";
    "access.user_agents" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.user_agents },
        "Agents for sessions of users who are logged in. Goes before `access.public_agents`.";
    "access.public_topics" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.public_topics },
        "Topics that every session may use. Those below `user/<name>/` and `session/<id>/` belong to that user or session whatever is set here.";
    "access.user_topics" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.user_topics },
        "Topics for sessions of users who are logged in. Goes before `access.public_topics`.";
    "access.visible_members" => List { allowed: PATTERN, check: is_pattern, at: |d| &mut d.settings.access.visible_members },
        "Topics in which sessions see the sessions of others among the members. Elsewhere a session sees its own, its user's and agents.";


    "heartbeat.interval" => Span { min: Duration::from_millis(10), max: HOUR, at: |d| &mut d.settings.heartbeat.interval },
        "Between two pings to a peer.";
    "heartbeat.timeout" => Span { min: Duration::from_millis(20), max: DAY, at: |d| &mut d.settings.heartbeat.timeout },
        "A peer silent for this long is closed with 4010. Longer than the interval.";

    "drain.timeout" => Span { min: Duration::ZERO, max: HOUR, at: |d| &mut d.settings.drain.timeout },
        "At shutdown, connections left after this long are cut; 0: at once.";
    "drain.pace" => Integer { min: 1, max: 10_000_000, at: |d| &mut d.settings.drain.pace },
        "Connections closed per second at shutdown, so that not all come back in one instant.";

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
        "Questions that the demo agent answers at the same time; the next is told that it is busy.";
    "demo.token_pace" => Span { min: Duration::ZERO, max: MINUTE, at: |d| &mut d.settings.demo.token_pace },
        "Between two tokens of a streamed answer; 0: no wait.";

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
        "How a log line looks: for people, or one JSON object per line.";

    "data.dir" | "DATA_DIR" => Folder { at: |d| &mut d.settings.data.dir },
        "The folder for what outlives the process. Made when needed, readable by its owner only.";

    "store.durability" => Choice {
        words: &[("fsync", Durability::Fsync), ("process", Durability::Process), ("memory", Durability::Memory)],
        at: |d| &mut d.settings.store.durability,
    },
        "What the confirmation of a durable message means: it is on the disk, or it survives `kill -9` but not a power loss, or it is in memory.";
    "store.default_delivery" => Choice {
        words: &[("durable", DefaultDelivery::Durable), ("ephemeral", DefaultDelivery::Ephemeral)],
        at: |d| &mut d.settings.store.default_delivery,
    },
        "What a message to an agent, session or user is whose sender does not say; requests (`timeout_ms`) are ephemeral either way.";
    "store.durable_topics" => List {
        allowed: "names of topics, or beginnings of names followed by `*`",
        check: is_topic_pattern,
        at: |d| &mut d.settings.store.durable_topics,
    },
        "Topics whose messages are durable unless their sender says otherwise.";
    "store.ack_timeout" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.store.ack_timeout },
        "How long a receiver that acknowledges itself may take before a durable message is delivered again; doubles with each delivery, up to an hour.";
    "store.max_deliveries" => Integer { min: 1, max: 1000, at: |d| &mut d.settings.store.max_deliveries },
        "How often a durable message is delivered before it goes to the dead letters.";
    "store.position_check" => Span { min: Duration::from_millis(100), max: HOUR, at: |d| &mut d.settings.store.position_check },
        "How often the positions of readers of topics and broadcasts are compared with the newest message; one that turns out to be behind reads on from the log.";
    "store.inbox_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.inbox.messages },
        "An inbox keeps so many unacknowledged messages, and as many acknowledged ones; 0: no bound.";
    "store.inbox_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.inbox.bytes },
        "An inbox keeps so many unacknowledged bytes, and as many acknowledged ones; 0: no bound.";
    "store.inbox_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.inbox.age },
        "An inbox keeps its messages for so long; 0: for ever.";
    "store.topic_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.topic.messages },
        "The log of a topic or broadcast keeps so many messages; 0: no bound.";
    "store.topic_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.topic.bytes },
        "The log of a topic or broadcast keeps so many bytes; 0: no bound.";
    "store.topic_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.topic.age },
        "The log of a topic or broadcast keeps its messages for so long; 0: for ever.";
    "store.dead_letters_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.dead_letters.messages },
        "A channel of dead letters keeps so many messages; 0: no bound.";
    "store.dead_letters_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.dead_letters.bytes },
        "A channel of dead letters keeps so many bytes; 0: no bound.";
    "store.dead_letters_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.dead_letters.age },
        "A channel of dead letters keeps its messages for so long; 0: for ever.";
    "store.forget_sessions" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.forget_sessions },
        "A session that was not seen for so long is forgotten; what waits for it goes to the dead letters.";
    "store.max_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.max_bytes },
        "Bytes of messages in the whole store. Of what waits and of logs of topics, anonymous sessions may fill half, users three quarters; beyond, durable messages are refused with `store_full`. Acknowledged messages and dead letters use what is left free. 0: no bound but the disk.";
    "store.disk_reserve" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.disk_reserve },
        "Bytes of the data folder's disk that stay free, a tenth of the disk at most: with less, durable messages are refused with `store_full`. Agents may use half of it. 0: none.";
    "store.session_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.session_quota.messages },
        "Durable messages that a session may have stored: those that wait in inboxes, and those in logs of topics; more are refused with `quota_exceeded`. 0: no bound.";
    "store.session_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.session_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.user_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.user_quota.messages },
        "Durable messages that a user, over all sessions, may have stored: those that wait in inboxes, and those in logs of topics; more are refused with `quota_exceeded`. 0: no bound.";
    "store.user_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.user_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.address_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.address_quota.messages },
        "Durable messages that the sessions of one client address may have stored: those that wait in inboxes, and those in logs of topics; more are refused with `quota_exceeded`. 0: no bound.";
    "store.address_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.address_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.key_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.key_quota.messages },
        "Durable messages that the agents of one key may have stored: those that wait in inboxes, and those in logs of topics; more are refused with `quota_exceeded`. 0: no bound.";
    "store.key_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.key_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.audit" => Flag { at: |d| &mut d.settings.store.audit },
        "Whether the audit log is written: connections, authentications, refusals, administrative acts.";
    "store.audit_payloads" => Flag { at: |d| &mut d.settings.store.audit_payloads },
        "Whether entries of the audit log about refused messages hold those messages, up to 16 KiB of each.";
    "store.audit_age" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.audit_age },
        "How long entries of the audit log are kept; of more than 1,000,000 the oldest go first.";

    "acme.domains" => List { allowed: "DNS names", check: is_domain, at: |d| &mut d.settings.acme.domains },
        "The names to have a certificate for. Each must lead to a listener of this bridge, on port 443 from outside.";
    "acme.directory_url" => Text { allowed: "`https://...`", check: is_https_url, at: |d| &mut d.settings.acme.directory_url },
        "The directory of the certificate authority; the default is Let's Encrypt.";
    "acme.ca_file" => OptionalFolder { at: |d| &mut d.settings.acme.ca_file },
        "The authorities of the directory's own certificate, PEM. Unset: those the system trusts.";
    "acme.contact" => OptionalText { allowed: "an e-mail address", check: is_mail_address, at: |d| &mut d.settings.acme.contact },
        "Where the authority may write to about the certificates.";
    "acme.agree_terms" => Flag { at: |d| &mut d.settings.acme.agree_terms },
        "Whether you agree to the authority's terms of service. Nothing is ordered without.";
};
