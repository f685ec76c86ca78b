//! WebSocket close codes and what a client should do at each.

/// A close code: RFC 6455 section 7.4 below 4000, the bridge's own from 4000 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

/// What a client should do after its connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Connect again without waiting.
    ReconnectAtOnce,
    /// Connect again after an exponential wait with full jitter.
    ReconnectWithBackoff,
    /// Connect again after such a wait, under another client name, and continue from the positions
    /// that the client holds.
    ReconnectRenamed,
    /// Get new credentials, then connect again.
    RefreshCredentials,
    /// Do not connect again by itself.
    Never,
}

impl CloseCode {
    /// The peer has finished.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// Represents a close frame without a code. Never sent.
    pub const NO_CODE: Self = Self(1005);
    /// Represents an end without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// Bytes that are not valid frames.
    pub const PROTOCOL: Self = Self(1002);
    /// A binary frame. Only text is allowed.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Text that is not UTF-8.
    pub const INVALID_UTF8: Self = Self(1007);
    /// A frame or message over the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// Internal error of the server.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts. The client reconnects.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is at capacity.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// The credentials the connection was opened with have expired.
    pub const CREDENTIALS_EXPIRED: Self = Self(4001);
    /// The session was ended: logged out or revoked.
    pub const SESSION_ENDED: Self = Self(4003);
    /// The peer did not read what waited for it.
    pub const SLOW_CONSUMER: Self = Self(4008);
    /// A newer connection has the same agent id.
    pub const TAKEN_OVER: Self = Self(4009);
    /// Nothing was heard from the peer in time.
    pub const HEARTBEAT_TIMEOUT: Self = Self(4010);
    /// A newer connection of the session has taken over the client name, and what is stored under
    /// it.
    pub const NAME_TAKEN_OVER: Self = Self(4011);
    /// The peer stayed over its rate.
    pub const RATE_LIMITED: Self = Self(4029);
    /// Too many invalid envelopes in a row.
    pub const TOO_MANY_INVALID: Self = Self(4400);

    /// Whether the protocol has this code: those above, and the ones of RFC 6455 and the IANA
    /// registry.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 1000..=1003 | 1005..=1015 | 4001 | 4003 | 4008..=4011 | 4029 | 4400)
    }

    /// What a client should do at this code. At unknown codes it reconnects with backoff.
    pub const fn advice(self) -> Advice {
        match self.0 {
            1000 | 1002 | 1003 | 1007 | 1009 | 4003 | 4009 | 4400 => Advice::Never,
            4001 => Advice::RefreshCredentials,
            4010 => Advice::ReconnectAtOnce,
            4011 => Advice::ReconnectRenamed,
            _ => Advice::ReconnectWithBackoff,
        }
    }

    /// Whether a peer that closes with this code has left for good: a page that was closed, a
    /// client that has finished or is no longer admitted. Peers with other codes come back.
    pub const fn is_leave(self) -> bool {
        matches!(self, Self::NORMAL | Self::GOING_AWAY | Self::NO_CODE) || matches!(self.advice(), Advice::Never)
    }

    /// The code for a close frame that answers or passes on this one. It is the same code if it may
    /// be sent. Otherwise it says that the peer has finished, or, if the peer may come back, that
    /// nothing was heard from it.
    pub const fn to_send(self) -> Self {
        match self {
            _ if self.may_be_sent() => self,
            _ if self.is_leave() => Self::NORMAL,
            _ => Self::HEARTBEAT_TIMEOUT,
        }
    }

    /// Whether an endpoint may put this code into a close frame (RFC 6455 section 7.4.1 and the
    /// IANA registry).
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_codes_may_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [1000, 1001, 1012, 3000, 4008, 4999] {
            assert!(CloseCode(code).may_be_sent(), "{code}");
            assert_eq!(CloseCode(code).to_send(), CloseCode(code));
        }
        for code in [CloseCode::NO_CODE, CloseCode::ABNORMAL] {
            assert_eq!(code.to_send().is_leave(), code.is_leave());
        }
    }

    #[test]
    fn restart_is_met_with_backoff_and_takeover_with_silence() {
        assert_eq!(CloseCode::SERVICE_RESTART.advice(), Advice::ReconnectWithBackoff);
        assert_eq!(CloseCode::TAKEN_OVER.advice(), Advice::Never);
        assert_eq!(CloseCode::NAME_TAKEN_OVER.advice(), Advice::ReconnectRenamed);
        assert_eq!(CloseCode::HEARTBEAT_TIMEOUT.advice(), Advice::ReconnectAtOnce);
        assert_eq!(CloseCode::CREDENTIALS_EXPIRED.advice(), Advice::RefreshCredentials);
        for (code, is_leave) in [
            (1000, true),
            (1001, true),
            (1005, true),
            (4003, true),
            (1012, false),
            (4001, false),
            (4008, false),
            (4010, false),
            (4011, false),
        ] {
            assert_eq!(CloseCode(code).is_leave(), is_leave, "{code}");
        }
    }
}
