//! Bridge services: the messages that the bridge answers itself.
//!
//! Each family of messages is one file here. It names its types, says who may send them, reads
//! their payloads, and answers them. [`FAMILIES`] lists the families; to add one, add its file and
//! its line in that list.
//!
//! ```text
//!   connection's actor: read(side, envelope) ─▶ Box<dyn Ask>
//!   RouterActor:        Ask::serve(Call) ─▶ answer, error, or nothing yet (Call::later)
//! ```
//!
//! A frame is read in the actor of its connection, where its text is borrowed, and served in the
//! router's thread, in the order in which the connection sent its frames. What no service owns is
//! routed by its target.

mod acks;
mod agents;
mod history;
mod resume;
mod sessions;
mod topics;

use std::{fmt, future::Future, sync::Arc, sync::LazyLock};

use actix::Context;
use common::{
    envelope::Envelope,
    error::{ClientError, ErrorCode},
    message::SystemMessage,
};
use foldhash::{HashMap, HashMapExt};

pub use self::{
    acks::{AckAsk, NackAsk},
    agents::StatusAsk,
    sessions::Page,
    topics::TopicAsk,
};
pub(crate) use agents::registration;

use crate::{
    actors::{RouterActor, Side},
    routing::Peer,
};

/// The services, one line for each family.
const FAMILIES: [&[Kind]; 6] = [acks::KINDS, agents::KINDS, history::KINDS, resume::KINDS, sessions::KINDS, topics::KINDS];

/// One type of message that the bridge answers itself.
#[derive(Debug)]
pub struct Kind {
    /// The exact type, `family:verb`.
    pub name: &'static str,
    /// Who may send it. From anyone else the type is a free message, which is routed.
    pub senders: Senders,
    /// Which targets make a frame of this type the bridge's.
    pub target: Target,
    /// Reads the payload.
    ///
    /// # Errors
    /// What the sender is told, with a code such as `invalid_payload`.
    pub read: fn(&Envelope<'_>) -> Result<Box<dyn Ask>, ClientError>,
}

/// Who may send a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Agents and sessions.
    All,
    /// Agents only.
    Agents,
}

/// Which targets make a frame the bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any: the target is ignored. The rule of the types in section 4 of docs/protocol.md.
    Ignored,
    /// `bridge`, `run:<id>`, `thread:<id>` or `pool:<name>`. With another target, or none, the
    /// frame is a free message. The rule for every type that is added.
    Bridge,
}

/// What a frame asks of the bridge: its payload, read and checked.
pub trait Ask: fmt::Debug + Send {
    /// Executes the request, in the router's thread. Must not block; work that waits goes to
    /// [`Call::later`].
    ///
    /// `Ok(None)`: there is no answer, or it comes later.
    ///
    /// # Errors
    /// The error for the sender.
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError>;
}

/// One frame that is being served.
pub struct Call<'a> {
    /// The router of this thread.
    pub router: &'a mut RouterActor,
    /// The sender of the frame.
    pub peer: &'a Arc<Peer>,
    /// The frame's id, to which the answer is correlated.
    pub id: Option<String>,
    /// The router's actor context.
    pub ctx: &'a mut Context<RouterActor>,
}

impl Call<'_> {
    /// Answers when `outcome` is ready. It runs in this thread, beside the router.
    pub fn later(self, outcome: impl Future<Output = Result<Option<SystemMessage>, ClientError>> + 'static) {
        let (peer, id, refuse) = (Arc::clone(self.peer), self.id, self.router.refuser());
        actix_rt::spawn(async move {
            match outcome.await {
                Ok(Some(answer)) => drop(peer.answer(&answer, id.as_deref())),
                Ok(None) => {}
                Err(error) => refuse(&peer, error, id.as_deref()),
            }
        });
    }
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Kind>> = LazyLock::new(|| {
    let kinds = FAMILIES.into_iter().flatten();
    let mut by_name = HashMap::with_capacity(2 * kinds.clone().count());
    by_name.extend(kinds.map(|kind| (kind.name, kind)));
    by_name
});

/// Reads what a frame from this side asks of a bridge service. `None`: no service owns the frame.
///
/// # Errors
/// What is wrong with its payload.
pub fn read(side: Side, envelope: &Envelope<'_>) -> Result<Option<Box<dyn Ask>>, ClientError> {
    find(side, envelope).map(|kind| (kind.read)(envelope)).transpose()
}

fn find(side: Side, envelope: &Envelope<'_>) -> Option<&'static Kind> {
    let kind = *BY_NAME.get(envelope.kind.as_ref())?;
    let may_send = side == Side::Agent || kind.senders == Senders::All;
    let is_addressed = kind.target == Target::Ignored || envelope.target.as_ref().is_some_and(|it| it.is_bridge());
    (may_send && is_addressed).then_some(kind)
}

fn invalid_payload(message: &'static str) -> ClientError {
    ClientError::with_message(ErrorCode::InvalidPayload, message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn find_in(side: Side, frame: &str) -> Option<&'static str> {
        find(side, &Envelope::parse(frame, 64).expect("an envelope")).map(|kind| kind.name)
    }

    #[test]
    fn every_type_is_owned_once_and_described_in_the_protocol() {
        let protocol = include_str!("../../../docs/protocol.md");
        let mut names = HashSet::new();
        for kind in FAMILIES.into_iter().flatten() {
            assert!(names.insert(kind.name), "{} is owned twice", kind.name);
            assert!(protocol.contains(&format!("| `{}` |", kind.name)), "{} is not in the protocol", kind.name);
        }
    }

    #[test]
    fn a_type_is_found_for_those_who_may_send_it_whatever_its_target() {
        let listing = r#"{"type":"session:list","target":"agent:x"}"#;
        assert_eq!(find_in(Side::Agent, listing), Some("session:list"));
        assert_eq!(find_in(Side::Session, listing), None, "a session's is a free message");
        assert_eq!(find_in(Side::Session, r#"{"type":"agent:list"}"#), Some("agent:list"));
        assert_eq!(find_in(Side::Agent, r#"{"type":"agent:handoff"}"#), None);
    }
}
