//! The families of message types.

/// The families of message types, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `connection:*`
    Connection,
    /// `session:*`
    Session,
    /// `agent:*`
    Agent,
    /// `message:*`
    Message,
    /// `command:*`
    Command,
    /// `task:*`
    Task,
    /// `run:*`
    Run,
    /// `approval:*`
    Approval,
    /// `topic:*`
    Topic,
    /// `presence:*`
    Presence,
    /// `system:*`
    System,
    /// Everything else.
    Other,
}

impl Family {
    /// Names in the order of the enum.
    pub const NAMES: [&'static str; 12] = [
        "connection",
        "session",
        "agent",
        "message",
        "command",
        "task",
        "run",
        "approval",
        "topic",
        "presence",
        "system",
        "other",
    ];

    /// The family of a type.
    pub fn of(kind: &str) -> Self {
        match kind.split(':').next() {
            Some("connection") => Self::Connection,
            Some("session") => Self::Session,
            Some("agent") => Self::Agent,
            Some("message") => Self::Message,
            Some("command") => Self::Command,
            Some("task") => Self::Task,
            Some("run") => Self::Run,
            Some("approval") => Self::Approval,
            Some("topic") => Self::Topic,
            Some("presence") => Self::Presence,
            Some("system") => Self::System,
            _ => Self::Other,
        }
    }
}
