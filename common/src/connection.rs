//! The life of a connection as one enum.
//!
//! ```text
//! Handshaking ──▶ Active ──▶ Closing ──▶ Closed
//!      │             └─────────────────────▲
//!      └───────────────────────────────────┘
//! ```
//! Invariants: a state is entered at most once; `Closed` is final; only `Active` connections
//! receive messages.

use serde::{Serialize, Serializer};

use crate::close::CloseCode;

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Upgraded and authenticated; for an agent, its id is not settled yet.
    Handshaking,
    /// Registered: messages flow.
    Active,
    /// A close frame with this code is on its way.
    Closing(CloseCode),
    /// The socket is closed. The code with which it ended, or [`CloseCode::ABNORMAL`].
    Closed(CloseCode),
}

impl ConnectionState {
    /// The names of all states, in order.
    pub const NAMES: [&'static str; 4] = ["handshaking", "active", "closing", "closed"];

    /// The state's name in statistics.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.position()]
    }

    /// The position in [`ConnectionState::NAMES`].
    pub const fn position(self) -> usize {
        match self {
            Self::Handshaking => 0,
            Self::Active => 1,
            Self::Closing(_) => 2,
            Self::Closed(_) => 3,
        }
    }

    /// Whether a connection in this state may change to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        self.position() < next.position()
    }
}

impl Serialize for ConnectionState {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_only_goes_forward() {
        let closing = ConnectionState::Closing(CloseCode::NORMAL);
        let closed = ConnectionState::Closed(CloseCode::NORMAL);
        assert!(ConnectionState::Handshaking.may_become(ConnectionState::Active));
        assert!(ConnectionState::Handshaking.may_become(closed));
        assert!(ConnectionState::Active.may_become(closing));
        assert!(closing.may_become(closed));
        assert!(!closed.may_become(ConnectionState::Active));
        assert!(!closing.may_become(closing));
    }
}
