//! The two kinds of connections.

/// The kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An agent's.
    Agent,
    /// A client session's.
    Session,
}
