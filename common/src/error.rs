//! Every error a client can see, in one table.
//!
//! A code is permanent: once published it keeps its meaning, and a retired code is never used
//! again. `docs/errors.md` is generated from this table.

use std::fmt;

use serde::Serialize;

use crate::close::CloseCode;

macro_rules! error_table {
    ($($variant:ident $code:literal $status:literal $close:expr, $temporary:literal, $meaning:literal;)*) => {
        /// A permanent error code. Its row holds the HTTP status, close code and `temporary` flag.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The row of this code.
            pub const fn row(self) -> ErrorRow {
                match self {
                    $(ErrorCode::$variant => ErrorRow {
                        code: $code,
                        status: $status,
                        close: $close,
                        temporary: $temporary,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
}

/// One row of the error table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    /// The code on the wire, and the label in metrics.
    pub code: &'static str,
    /// HTTP status of a response with this error.
    pub status: u16,
    /// Close code; `None` if this error does not close the connection.
    pub close: Option<CloseCode>,
    /// Whether the same request or frame can succeed later.
    pub temporary: bool,
    /// What the error means and what the client should do.
    pub meaning: &'static str,
}

error_table! {
    Unauthorized "unauthorized" 401 None, false, "The key, token or assertion is missing or wrong. Send a valid one.";
    CredentialsExpired "credentials_expired" 401 Some(CloseCode::CREDENTIALS_EXPIRED), false, "The token or assertion was valid and has expired. Refresh it.";
    AgentKeyRevoked "agent_key_revoked" 401 None, false, "The agent key has been revoked. Ask the operator for a new one.";
    AgentKeyExpired "agent_key_expired" 401 None, false, "The agent key has expired. Ask the operator for a new one.";
    Forbidden "forbidden" 403 None, false, "The credentials are valid, but not for this session or resource.";
    NotFound "not_found" 404 None, false, "There is nothing at this path.";
    MethodNotAllowed "method_not_allowed" 405 None, false, "The path exists, but not for this method.";
    BadRequest "bad_request" 400 None, false, "The request is malformed; the message says where.";
    HeadTooLong "head_too_long" 431 None, false, "The head of the request has more bytes or lines than the server reads. Send fewer or shorter headers.";
    RequestTimeout "request_timeout" 408 None, true, "The complete request did not arrive within the time limit. Send it faster.";
    InvalidSessionId "invalid_session_id" 400 None, false, "The session id in the path is not a UUID.";
    InvalidAgentId "invalid_agent_id" 400 None, false, "The agent id is empty, longer than 128 characters, or has characters other than A-Z a-z 0-9 . _ - : / @ +.";
    UpgradeRequired "upgrade_required" 426 None, false, "This path speaks WebSocket version 13 only. Send an upgrade request.";
    TlsRequired "tls_required" 400 None, false, "This port speaks TLS only. Use https:// or wss://.";
    ClientCertificateRequired "client_certificate_required" 401 None, false, "Besides its key, an agent needs a certificate signed by an authority that the broker's operator trusts.";
    OriginNotAllowed "origin_not_allowed" 403 None, false, "Pages of this origin are not allowed. Add the origin to web.allowed_origins.";
    HostNotAllowed "host_not_allowed" 421 None, false, "This server does not answer under the name in Host. Use its address or a configured name, or add the name to web.hosts (edge) or broker.hosts (broker).";
    AtCapacity "at_capacity" 503 Some(CloseCode::TRY_AGAIN_LATER), true, "The server has reached its connection limit; a part of it is reserved for agents. Try again later.";
    TooManyConnections "too_many_connections" 429 None, true, "This session, user, address or agent key has reached its connection limit. Close one first.";
    RateLimited "rate_limited" 429 Some(CloseCode::RATE_LIMITED), true, "Rate limit exceeded. Over HTTP: retry after the time in Retry-After. On a socket: no frame is lost, but later ones are read with a delay; a client that stays over the limit is closed.";
    TooManyFailures "too_many_failures" 429 None, true, "Too many logins or keys from this address were wrong. Try again after the wait in the answer; each failure makes it longer.";
    NotReady "not_ready" 503 None, true, "The server is starting or draining. Try again later.";
    UpstreamUnavailable "upstream_unavailable" 503 None, true, "The edge cannot reach the broker, and its queue of frames for the broker is full.";
    Internal "internal" 500 Some(CloseCode::INTERNAL), true, "Internal server error. The server's log has the details.";

    InvalidEnvelope "invalid_envelope" 400 None, false, "The frame is not one JSON object with a string `type` and well-formed envelope fields; the message says what is wrong.";
    TooManyInvalid "too_many_invalid" 400 Some(CloseCode::TOO_MANY_INVALID), false, "Too many invalid frames in a row.";
    InvalidTarget "invalid_target" 400 None, false, "The target is not an address; see the table of addresses in the protocol.";
    InvalidTopic "invalid_topic" 400 None, false, "The topic is empty, longer than 128 characters, or has characters other than A-Z a-z 0-9 . _ - : / @ +.";
    ReservedType "reserved_type" 400 None, false, "This family of types is reserved for the bridge, and peers cannot send this type.";
    TargetRequired "target_required" 400 None, false, "An agent's message needs a target.";
    NotAllowed "not_allowed" 403 None, false, "A session may send to agents and to topics it subscribes to, as far as the operator opened them; an agent to what its key reaches.";
    AgentNotFound "agent_not_found" 404 None, true, "No agent with this id is connected. Send agent:list to see who is, or try again later.";
    NoAgent "no_agent" 404 None, true, "The frame has no target and no agent is connected. Try again later.";
    AgentAmbiguous "agent_ambiguous" 409 None, false, "The frame has no target and several agents are connected. Name one as the target, or at connect.";
    SessionNotFound "session_not_found" 404 None, true, "No session with this id is connected.";
    UserNotFound "user_not_found" 404 None, true, "No session of this user is connected.";
    AlreadyRegistered "already_registered" 409 None, false, "This connection already has an agent id. Open another connection for another id.";
    InvalidPayload "invalid_payload" 400 None, false, "The payload of a frame for the bridge does not have the shape that the protocol defines; the message says what is wrong.";
    PositionAhead "position_ahead" 409 None, false, "The inbox has no message with so high a number, so nothing was acknowledged. Name the `seq` of a message that you received.";
    TooManySubscriptions "too_many_subscriptions" 429 None, false, "This connection, or its session, user, address or agent key, has reached its subscription limit; the message says which. Unsubscribe from a topic first.";
    TooManyTopics "too_many_topics" 503 None, true, "The server, or all sessions together, have reached the topic limit. Try again later.";
    ShareExceeded "share_exceeded" 429 None, true, "This session, user, address or agent key has used up its share of a table that all use. The message says whose share of what. Release something, then try again.";
    TooManyRequests "too_many_requests" 429 None, true, "This connection, or its session, user, address or agent key, has reached its limit of open requests or history reads. Wait for answers.";
    RequestTargetInvalid "request_target_invalid" 400 None, false, "timeout_ms asks for one answer, so the target must be one agent or one session.";
    DuplicateRequest "duplicate_request" 409 None, false, "A request with this id is still open. Give every request its own id.";
    IdempotencyKeyReused "idempotency_key_reused" 422 None, false, "This Idempotency-Key came with another request before. Give every request its own key, and repeat a request unchanged.";
    LoopStopped "loop_stopped" 429 None, true, "Too many answers to answers in one chain: two programs seem to answer each other. The message was dropped. Wait, or begin a new chain without correlation_id.";
    ReplyTimeout "reply_timeout" 504 None, true, "No answer arrived within timeout_ms.";
    PeerGone "peer_gone" 502 None, true, "The peer that was asked has disconnected.";
    ReceiverOverloaded "receiver_overloaded" 503 None, true, "The receiver reads too slowly and its outbox is full; the message was dropped. Try again later.";
    DurableTargetInvalid "durable_target_invalid" 400 None, false, "A durable message goes to an agent, session, user, topic or broadcast, not to the bridge.";
    MessageNotHeld "message_not_held" 404 None, false, "This connection does not hold a message with this `seq`: it was acknowledged or refused, has expired, or was not delivered on a connection with ack=explicit.";
    StoreUnavailable "store_unavailable" 503 None, true, "The message could not be stored and is not confirmed. Send it again later under the same id.";
    StoreDamaged "store_damaged" 503 None, false, "Stored messages of this channel, or of the whole store, are damaged, so nothing new is stored there. Nobody got the message. An operator must restore a backup.";
    QuotaExceeded "quota_exceeded" 429 None, true, "This session, user, address or agent key has reached its quota of stored messages or bytes; the message says which. Nobody got this message. Wait until receivers acknowledge some.";
    StoreFull "store_full" 507 None, true, "The store, or the part of it that senders like this one may use, is full. Nobody got the message. Try again later.";
    InboxBusy "inbox_busy" 503 None, true, "Too many messages wait for inboxes to be opened, in all or of this session, user, address or agent key. Try again later.";

    SlowConsumer "slow_consumer" 503 Some(CloseCode::SLOW_CONSUMER), true, "The connection did not read its queued frames within the time limit.";
    TakenOver "taken_over" 409 Some(CloseCode::TAKEN_OVER), false, "A newer connection has the same agent id.";
    HeartbeatTimeout "heartbeat_timeout" 408 Some(CloseCode::HEARTBEAT_TIMEOUT), true, "The peer sent nothing within the heartbeat timeout.";
    SessionEnded "session_ended" 401 Some(CloseCode::SESSION_ENDED), false, "The session was ended. Register a new one.";
    ServiceRestart "service_restart" 503 Some(CloseCode::SERVICE_RESTART), true, "The server is restarting. Connect again.";
    ProtocolError "protocol_error" 400 Some(CloseCode::PROTOCOL), false, "The bytes are not valid WebSocket frames.";
    UnsupportedData "unsupported_data" 415 Some(CloseCode::UNSUPPORTED), false, "Binary frames are not part of protocol version 1.";
    InvalidUtf8 "invalid_utf8" 400 Some(CloseCode::INVALID_UTF8), false, "A text frame is not valid UTF-8.";
    FrameTooBig "frame_too_big" 413 Some(CloseCode::TOO_BIG), false, "A frame or message is bigger, or has more fragments, than the limit.";

    SiweMessageTooLong "siwe_message_too_long" 413 None, false, "The message or signature is longer than any that this server issues.";
    SiweCharacters "siwe_characters" 400 None, false, "The message has characters other than printable ASCII and line feeds. Send the text of the challenge unchanged.";
    SiweLineEndings "siwe_line_endings" 400 None, false, "The message has carriage returns. Its lines end with a line feed alone; send the text unchanged.";
    SiweMalformed "siwe_malformed" 400 None, false, "The message lacks a line that EIP-4361 requires, or its lines are out of order.";
    SiweDomainMalformed "siwe_domain_malformed" 400 None, false, "The domain in the message's first line is not an authority (RFC 3986).";
    SiweAddressMalformed "siwe_address_malformed" 400 None, false, "The address is not 0x and forty hexadecimal digits.";
    SiweAddressChecksum "siwe_address_checksum" 400 None, false, "The address is not spelled with the checksum of EIP-55.";
    SiweStatementMalformed "siwe_statement_malformed" 400 None, false, "The statement has characters that EIP-4361 does not allow in it.";
    SiweUriMalformed "siwe_uri_malformed" 400 None, false, "The URI in the message is not one of RFC 3986.";
    SiweVersionUnsupported "siwe_version_unsupported" 400 None, false, "The version of the message is not 1.";
    SiweChainMalformed "siwe_chain_malformed" 400 None, false, "The chain id is not a number, or has leading zeros.";
    SiweNonceMalformed "siwe_nonce_malformed" 400 None, false, "The nonce is not eight or more letters and digits.";
    SiweTimeMalformed "siwe_time_malformed" 400 None, false, "A time in the message is not one of RFC 3339.";
    SiweRequestIdMalformed "siwe_request_id_malformed" 400 None, false, "The request id has characters that EIP-4361 does not allow in it.";
    SiweResourceMalformed "siwe_resource_malformed" 400 None, false, "A resource in the message is not a URI of RFC 3986 after a dash.";
    SiweExtraContent "siwe_extra_content" 400 None, false, "The message has content after its last field.";
    SiweDomainMismatch "siwe_domain_mismatch" 401 None, false, "The message was made for another domain. Sign only what this site asks for.";
    SiweUriMismatch "siwe_uri_mismatch" 401 None, false, "The message was made for another URI.";
    SiweChainNotAllowed "siwe_chain_not_allowed" 403 None, false, "This server accepts no logins on that chain.";
    SiweNonceUnknown "siwe_nonce_unknown" 401 None, false, "The nonce is not from this server, or has been forgotten. Ask for a new challenge.";
    SiweNonceUsed "siwe_nonce_used" 401 None, false, "The nonce has been used. Ask for a new challenge.";
    SiweNonceOfAnother "siwe_nonce_of_another_session" 401 None, false, "The challenge was issued to another session. Ask for your own.";
    SiweAddressMismatch "siwe_address_mismatch" 401 None, false, "The message names another address than the one in the request for the challenge.";
    SiweChainMismatch "siwe_chain_mismatch" 401 None, false, "The message names another chain than the one in the request for the challenge.";
    SiweExpired "siwe_expired" 401 None, false, "The challenge has expired. Ask for a new one.";
    SiweNotYetValid "siwe_not_yet_valid" 401 None, false, "The message is not valid yet.";
    SiweIssuedInFuture "siwe_issued_in_future" 401 None, false, "The message was issued in the future.";
    SiweAltered "siwe_message_altered" 401 None, false, "The message is not the text of the challenge. Sign and send it unchanged.";
    SiweSignatureEncoding "siwe_signature_encoding" 400 None, false, "The signature is not 0x and hexadecimal digits.";
    SiweSignatureLength "siwe_signature_length" 401 None, false, "The signature does not have 65 bytes.";
    SiweSignatureRecovery "siwe_signature_recovery" 401 None, false, "The last byte of the signature is not 0, 1, 27 or 28.";
    SiweSignatureRange "siwe_signature_range" 401 None, false, "The numbers of the signature are outside the curve's range.";
    SiweSignatureHighS "siwe_signature_high_s" 401 None, false, "The signature is not canonical: its s is in the upper half.";
    SiweWrongSigner "siwe_wrong_signer" 401 None, false, "The signature was not made by the address in the message.";
    SiweContractRefused "siwe_contract_refused" 401 None, false, "The contract at the address does not accept the signature.";
    SiweContractUnavailable "siwe_contract_unavailable" 503 None, true, "The Ethereum node that checks contract wallets does not answer. Try again later.";
    SiweUnavailable "siwe_unavailable" 503 None, true, "The server cannot create a challenge now. Try again later.";

    TokenTooLong "token_too_long" 401 None, false, "The token is longer than the limit.";
    TokenMalformed "token_malformed" 401 None, false, "The token is not three parts of base64url with JSON objects in the first two.";
    TokenDuplicateNames "token_duplicate_names" 401 None, false, "A name occurs twice in the token's header or claims.";
    TokenUnsigned "token_unsigned" 401 None, false, "The token has no signature.";
    TokenAlgorithmRefused "token_algorithm_refused" 401 None, false, "The algorithm of the token's signature is not allowed for its issuer.";
    TokenCriticalHeader "token_critical_header" 401 None, false, "The token's header requires extensions that this server does not support.";
    TokenTypeRefused "token_type_refused" 401 None, false, "A token of this type cannot be used to log in.";
    TokenIssuerUnknown "token_issuer_unknown" 401 None, false, "The token names no issuer that this server trusts.";
    TokenKeyUnknown "token_key_unknown" 401 None, false, "The token is signed with a key that its issuer does not publish.";
    TokenKeysUnavailable "token_keys_unavailable" 503 None, true, "The issuer's keys cannot be fetched now. Try again later.";
    TokenSignatureWrong "token_signature_wrong" 401 None, false, "The token's signature is wrong.";
    TokenAudienceWrong "token_audience_wrong" 401 None, false, "The token was made for another audience.";
    TokenExpired "token_expired" 401 None, false, "The token has expired. Refresh it.";
    TokenNotYetValid "token_not_yet_valid" 401 None, false, "The token is not valid yet.";
    TokenIssuedInFuture "token_issued_in_future" 401 None, false, "The token was issued in the future.";
    TokenClaimMissing "token_claim_missing" 401 None, false, "The token lacks a claim that this server needs.";
    TokenClaimInvalid "token_claim_invalid" 401 None, false, "A claim of the token does not have the form that this server needs.";

    LoginRequired "login_required" 401 None, false, "This needs a logged-in user. Log in first.";
    ScopeRequired "scope_required" 403 None, false, "The login lacks the scope for this: bridge:send, bridge:publish, bridge:subscribe or bridge:history. Log in with it.";
    LoginNotOffered "login_not_offered" 404 None, false, "This server is not configured for this way of logging in.";
    AlreadyLoggedIn "already_logged_in" 409 None, false, "Another user is logged in to this session. Log out first; the next login gets another session.";
}

impl ErrorCode {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().code
    }

    /// Parses a code on the wire. `None`: the code is unknown, for instance one of a later version.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The position in [`ErrorCode::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// An error as it is sent to a client. The message says what to do and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message} ({code})")]
pub struct ClientError {
    /// The permanent code.
    #[serde(serialize_with = "code_as_str")]
    pub code: ErrorCode,
    /// What went wrong and what to do about it.
    pub message: String,
    /// Whether the same request can succeed later.
    pub temporary: bool,
    /// The address it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How long to wait before the next try, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ClientError {
    /// An error with the message of the table.
    pub fn new(code: ErrorCode) -> Self {
        Self::with_message(code, code.row().meaning)
    }

    /// An error with its own message.
    pub fn with_message(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), temporary: code.row().temporary, target: None, retry_after_ms: None }
    }

    /// Names the address the error is about.
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Says how long to wait before the next try.
    pub fn after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_ms = u64::try_from(wait.as_micros().div_ceil(1000)).ok();
        self
    }

    /// The value of `Retry-After` over HTTP, in seconds: the wait that the error names. One second
    /// if status 429 or 503 comes without a wait.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let told = self.retry_after_ms.map(|wait| wait.div_ceil(1000).max(1));
        told.or_else(|| matches!(self.code.row().status, 429 | 503).then_some(1))
    }

    /// The JSON body of an HTTP refusal: `{"error":{...}}`.
    pub fn to_http_body(&self) -> String {
        serde_json::json!({ "error": self }).to_string()
    }
}

impl From<ErrorCode> for ClientError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

fn code_as_str<S: serde::Serializer>(code: &ErrorCode, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(code.as_str())
}

/// The Markdown page `docs/errors.md`.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nGenerated from `common/src/error.rs` by `make docs`; do not edit.\n\n\
         | code | HTTP status | close code | temporary | meaning |\n|---|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let row = code.row();
        let close = row.close.map_or_else(|| "-".to_owned(), |close| close.0.to_string());
        let temporary = if row.temporary { "yes" } else { "no" };
        page.push_str(&format!("| `{}` | {} | {close} | {temporary} | {} |\n", row.code, row.status, row.meaning));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_indexes_match() {
        let codes: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.index(), index);
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn http_body_names_code_and_temporary() {
        let body = ClientError::new(ErrorCode::AgentNotFound).about("agent:x").to_http_body();
        let value: serde_json::Value = serde_json::from_str(&body).expect("json");
        assert_eq!(value["error"]["code"], "agent_not_found");
        assert_eq!(value["error"]["temporary"], true);
        assert_eq!(value["error"]["target"], "agent:x");
    }

    #[test]
    fn errors_that_may_be_retried_state_when() {
        for code in ErrorCode::ALL {
            let is_due = matches!(code.row().status, 429 | 503);
            assert_eq!(ClientError::new(*code).retry_after_seconds().is_some(), is_due, "{code:?}");
        }
        let after = |millis| ClientError::new(ErrorCode::RateLimited).after(std::time::Duration::from_millis(millis));
        assert_eq!(after(1).retry_after_seconds(), Some(1));
        assert_eq!(after(1001).retry_after_seconds(), Some(2));
    }

    #[test]
    fn docs_page_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let page = std::fs::read_to_string(path).expect("docs/errors.md exists");
        assert_eq!(page, reference_markdown(), "run `make docs`");
    }
}
