//! Addresses: what a message's `target` and `source` can be.

use std::fmt;

use crate::id::{AgentId, PoolName, RunId, SessionId, ThreadId, TopicName, UserId};

/// Whom a broadcast reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every session.
    Sessions,
    /// Every agent but the sender.
    Agents,
    /// Both.
    All,
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `agent:<id>`
    Agent(AgentId),
    /// `session:<uuid>`
    Session(SessionId),
    /// `user:<id>`
    User(UserId),
    /// `topic:<name>`
    Topic(TopicName),
    /// `broadcast:sessions`, `broadcast:agents`, `broadcast:all`
    Broadcast(Scope),
    /// `bridge`: the broker itself.
    Bridge,
    /// `run:<id>`
    Run(RunId),
    /// `thread:<id>`
    Thread(ThreadId),
    /// `pool:<name>`
    Pool(PoolName),
}

/// The string is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the target is not an address: use agent:<id>, session:<uuid>, user:<id>, topic:<name>, broadcast:sessions|agents|all, bridge, run:<id>, thread:<id> or pool:<name>"
)]
pub struct AddressError;

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// The text is no address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text == "bridge" {
            return Ok(Self::Bridge);
        }
        let (kind, rest) = text.split_once(':').ok_or(AddressError)?;
        let address = match kind {
            "agent" => AgentId::new(rest).map(Self::Agent),
            "session" => rest.parse().map(Self::Session),
            "user" => UserId::new(rest).map(Self::User),
            "topic" => TopicName::new(rest).map(Self::Topic),
            "run" => RunId::new(rest).map(Self::Run),
            "thread" => ThreadId::new(rest).map(Self::Thread),
            "pool" => PoolName::new(rest).map(Self::Pool),
            "broadcast" => {
                return match rest {
                    "sessions" => Ok(Self::Broadcast(Scope::Sessions)),
                    "agents" => Ok(Self::Broadcast(Scope::Agents)),
                    "all" => Ok(Self::Broadcast(Scope::All)),
                    _ => Err(AddressError),
                };
            }
            _ => return Err(AddressError),
        };
        address.map_err(|_| AddressError)
    }

    /// Whether it names the bridge, or something that the bridge keeps, instead of a peer or a
    /// topic. Frames to such an address are for a bridge service; free messages are refused.
    pub const fn is_bridge(&self) -> bool {
        matches!(self, Self::Bridge | Self::Run(_) | Self::Thread(_) | Self::Pool(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(out, "agent:{id}"),
            Self::Session(id) => write!(out, "session:{id}"),
            Self::User(id) => write!(out, "user:{id}"),
            Self::Topic(name) => write!(out, "topic:{name}"),
            Self::Broadcast(Scope::Sessions) => out.write_str("broadcast:sessions"),
            Self::Broadcast(Scope::Agents) => out.write_str("broadcast:agents"),
            Self::Broadcast(Scope::All) => out.write_str("broadcast:all"),
            Self::Bridge => out.write_str("bridge"),
            Self::Run(id) => write!(out, "run:{id}"),
            Self::Thread(id) => write!(out, "thread:{id}"),
            Self::Pool(name) => write!(out, "pool:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        let session = format!("session:{}", SessionId::fresh());
        for text in [
            "agent:a:b",
            &session,
            "user:u@x",
            "topic:room/1",
            "broadcast:sessions",
            "broadcast:agents",
            "broadcast:all",
            "bridge",
            "run:r-1",
            "thread:t/2",
            "pool:coders",
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "agent",
            "agent:",
            "Agent:x",
            "session:1",
            "broadcast:",
            "broadcast:everyone",
            "bridge:x",
            "pool:",
            "run:a b",
            "topic:a b",
        ] {
            assert_eq!(Address::parse(text), Err(AddressError), "{text}");
        }
    }
}
