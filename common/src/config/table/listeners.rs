//! The settings of broker and edge: where they listen, whom they trust, how people log in.

use std::time::Duration;

use crate::config::checks::{is_agent_id, is_authority, is_host, is_key_url, is_line, is_origin, is_visible, is_ws_url};
use crate::config::guards::ProxyHeader;
use crate::config::kinds::{
    Address, ChainUrls, Chains, Choice, Flag, Integer, Keys, List, Networks, OptionalFolder, OptionalText, SecretText, Size,
    Span, Text,
};
use crate::config::setting::{Setting, settings};
use crate::config::settings::CookieSecure;
use crate::config::tls::ClientCertificates;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const HSTS_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
const GIB: usize = 1 << 30;
const HOSTS: &str = "host names without a port, where `*.` at the beginning is any name before";
const SITE: &str = "`host` or `host:port`";
const KEY_URL: &str = "an `https` URL (`http` on loopback)";
const CLAIM: &str = "a claim's name, or a JSON pointer such as `/app_metadata/role`";
const WS_URL: &str = "`ws://host:port` or `wss://host:port`";

/// The rows, in the order of the reference.
pub(super) static ROWS: &[Setting] = settings! {
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
        "Opens the operators' API (`/api/v1/…` of the broker) and `/stats` and `/metrics` of broker and edge, as `Authorization: \
        Bearer`. Unset: that API is closed; `/stats` and `/metrics` answer only this machine, if it listens on loopback and no \
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
    "auth.supabase_url" | "SUPABASE_URL" => OptionalText { allowed: "`https://host`", check: is_origin, at: |d| &mut d.settings.auth.supabase_url },
        "The address of a Supabase project. It stands for the issuer's settings that are unset: `auth.jwt_issuer` is \
        this and `/auth/v1`, `auth.jwt_audience` is `authenticated`, and without `auth.jwt_secret` and \
        `auth.jwks_file` the keys are those that the project publishes.";
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
};
