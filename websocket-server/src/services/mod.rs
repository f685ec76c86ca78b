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
mod extending;
mod history;
mod kind;
mod resume;
mod sessions;
mod topics;

use std::sync::LazyLock;

use common::{envelope::Envelope, error::ClientError};
use foldhash::{HashMap, HashMapExt};

pub use self::{
    acks::{AckAsk, NackAsk},
    agents::StatusAsk,
    extending::ExtendAsk,
    kind::{Kind, Senders, Target},
    sessions::SessionListAsk,
    topics::TopicAsk,
};
pub(crate) use agents::registration;

use crate::{shard::Ask, side::Side};

/// The services, one line for each family.
const FAMILIES: &[&[Kind]] =
    &[acks::KINDS, agents::KINDS, extending::KINDS, history::KINDS, resume::KINDS, sessions::KINDS, topics::KINDS];

/// The types of all services.
pub fn types() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().copied().flatten().map(|kind| kind.name)
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Kind>> = LazyLock::new(|| {
    let kinds = FAMILIES.iter().copied().flatten();
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
        for kind in types() {
            assert!(names.insert(kind), "{kind} is owned twice");
            assert!(protocol.contains(&format!("| `{kind}` |")), "{kind} is not in the protocol");
        }
    }

    #[test]
    fn a_type_is_found_for_its_allowed_senders_whatever_its_target() {
        let listing = r#"{"type":"session:list","target":"agent:x"}"#;
        assert_eq!(find_in(Side::Agent, listing), Some("session:list"));
        assert_eq!(find_in(Side::Session, listing), None, "a session's is a free message");
        assert_eq!(find_in(Side::Session, r#"{"type":"agent:list"}"#), Some("agent:list"));
        assert_eq!(find_in(Side::Agent, r#"{"type":"agent:handoff"}"#), None);
        let extending = |target: &str| format!(r#"{{"type":"message:extend","target":{target}}}"#);
        assert_eq!(find_in(Side::Session, &extending("\"bridge\"")), Some("message:extend"));
        assert_eq!(find_in(Side::Session, &extending("null")), None, "a free message");
    }
}
