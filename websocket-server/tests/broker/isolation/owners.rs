//! The owner of everything, and where it is sent, in the histories of isolation: those over
//! sockets, and the pure ones of the routing core, whose unit tests include this file. It knows no
//! broker.

use common::id::SessionId;

pub const SESSIONS: usize = 5;
pub const USERS: usize = 2;
/// The users. The names are long enough to be found in a text.
pub const NAMES: [&str; USERS] = ["ann-4f1c7d", "bob-9e2d31"];
/// The owner of public messages.
pub const PUBLIC: &str = "everybody";
/// The agent with a key that reaches everything.
pub const TRUSTED: &str = "trusted";
/// The agent with a key for the first user.
pub const BOUNDED: &str = "bounded";
/// The topic that is open to all.
pub const OPEN: &str = "topic:room";

/// The target of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Trusted,
    Bounded,
    Session(usize),
    User(usize),
    Open,
    OfUser(usize),
    OfSession(usize),
    Sessions,
    Agents,
    All,
    Default,
    /// The inbox of the user or, without one, the session that sends; nobody else's.
    OwnInbox,
    /// The same for topics.
    OwnTopic,
}

/// The owners of the sessions.
pub struct Owners {
    pub sessions: [SessionId; SESSIONS],
    /// The user of each session.
    pub users: [Option<usize>; SESSIONS],
}

impl Owners {
    /// Before anybody has logged in.
    pub fn of(sessions: [SessionId; SESSIONS]) -> Self {
        Self { sessions, users: [Some(0), Some(0), Some(1), None, None] }
    }

    /// The owner of what belongs to a session: its user, or itself.
    pub fn owner(&self, session: usize) -> String {
        self.users[session].map_or_else(|| self.sessions[session].to_string(), |user| NAMES[user].to_owned())
    }

    /// The owner of a message: that of the session that sends it, and that of the receiver if an
    /// agent sends it.
    pub fn whose(&self, from: Option<usize>, to: To) -> String {
        match (from, to) {
            (_, To::Open) => PUBLIC.to_owned(),
            (Some(session), _) | (None, To::Session(session)) => self.owner(session),
            (None, To::OfSession(session)) => self.sessions[session].to_string(),
            (None, To::User(user) | To::OfUser(user)) => NAMES[user].to_owned(),
            (None, _) => PUBLIC.to_owned(),
        }
    }

    /// What "own" means for a session or an agent. An agent has nothing of its own: it sends to the
    /// open topic.
    pub fn resolve(&self, from: Option<usize>, to: To) -> To {
        match (to, from.map(|session| (session, self.users[session]))) {
            (To::OwnInbox | To::OwnTopic, None) => To::Open,
            (To::OwnInbox, Some((_, Some(user)))) => To::User(user),
            (To::OwnInbox, Some((session, None))) => To::Session(session),
            (To::OwnTopic, Some((_, Some(user)))) => To::OfUser(user),
            (To::OwnTopic, Some((session, None))) => To::OfSession(session),
            _ => to,
        }
    }

    /// `None`: no address is named.
    pub fn address(&self, to: To) -> Option<String> {
        Some(match to {
            To::Trusted => format!("agent:{TRUSTED}"),
            To::Bounded => format!("agent:{BOUNDED}"),
            To::Session(session) => format!("session:{}", self.sessions[session]),
            To::User(user) => format!("user:{}", NAMES[user]),
            To::Open => OPEN.to_owned(),
            To::OfUser(user) => format!("topic:user/{}/notes", NAMES[user]),
            To::OfSession(session) => format!("topic:session/{}/notes", self.sessions[session]),
            To::Sessions => "broadcast:sessions".to_owned(),
            To::Agents => "broadcast:agents".to_owned(),
            To::All => "broadcast:all".to_owned(),
            To::Default | To::OwnInbox | To::OwnTopic => return None,
        })
    }
}
