//! A user's messages at the broker: a durable topic with the messages, one with the [`Snapshot`] of
//! what they make, and one for each mode with the position up to which the mode has read. The last
//! two hold a retained value.
//!
//! | topic | holds |
//! |---|---|
//! | `user/<name>/hybrid` | every message, in order: also the history |
//! | `user/<name>/hybrid/session` | the snapshot |
//! | `user/<name>/hybrid/mode/<mode>` | what the mode has read |

use std::time::Duration;

use common::{
    address::Address,
    envelope::Delivery,
    error::ErrorCode,
    id::{TopicName, UserId},
    message::KnownPosition,
};
use identity::escape_name;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;

use super::{
    frames::{Message, Mode},
    session::{Snapshot, UserSession},
};
use crate::doors::{Confirmed, Door, DoorError, Inbox, Incoming, Outgoing};

/// The type of a message's envelope.
pub const MESSAGE: &str = "hybrid:message";
const SESSION: &str = "hybrid:session";
const READ: &str = "hybrid:read";
/// The most messages of one page.
const PAGE: u32 = 256;
/// The most pages that are read at once: as many messages as a topic keeps by default.
const MOST_PAGES: usize = 40;
/// How long a retained value may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// The longest escaped name of a user, so that the topics' names are not too long.
const LONGEST_NAME: usize = 100;

/// A message and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its number.
    pub seq: u64,
    /// The message.
    pub message: Message,
}

/// What is known of the log when a connection begins.
#[derive(Debug)]
pub struct Opened {
    /// The present epoch.
    pub epoch: String,
    /// What the messages make.
    pub session: UserSession,
    /// Whether the stored snapshot lacks changes.
    pub is_behind: bool,
    /// What the mode has read; `None`: it was never here.
    pub read: Option<u64>,
    /// The messages since then, and at least the newest of the history, in order.
    pub messages: Vec<Placed>,
    /// What arrived meanwhile.
    pub early: Vec<Incoming>,
}

impl Opened {
    /// What the messages make, as it is stored.
    pub fn snapshot(&self) -> Snapshot {
        let seq = self.messages.last().map_or(0, |placed| placed.seq);
        Snapshot { epoch: self.epoch.clone(), seq, session: self.session.clone() }
    }
}

/// What a message of the inbox is.
#[derive(Debug)]
pub enum Arrived {
    /// A message of the log.
    Message(Placed, KnownPosition),
    /// Somebody stored a snapshot up to this number.
    Snapshot(u64),
    /// Something else.
    Other,
}

/// See the module.
#[derive(Clone)]
pub struct UserLog {
    door: Door,
    log: TopicName,
    session: TopicName,
}

#[derive(Deserialize)]
struct Page {
    epoch: String,
    #[serde(default)]
    next: u64,
    #[serde(default)]
    has_more: bool,
    messages: Vec<Box<RawValue>>,
}

impl UserLog {
    /// The log of a user; `None` if the user's name is too long for a topic.
    pub fn new(door: Door, user: &UserId) -> Option<Self> {
        let name = escape_name(user.as_str(), 2 * LONGEST_NAME);
        if name.len() > LONGEST_NAME {
            return None;
        }
        let log = TopicName::new(&format!("user/{name}/hybrid")).ok()?;
        let session = TopicName::new(&format!("{log}/session")).ok()?;
        Some(Self { door, log, session })
    }

    fn of_mode(&self, mode: Mode) -> Option<TopicName> {
        TopicName::new(&format!("{}/mode/{mode}", self.log)).ok()
    }

    /// Subscribes, and reads what is there. `mode` is that of a connection.
    ///
    /// # Errors
    /// Those of the door.
    pub async fn open(&self, inbox: &mut Inbox, mode: Option<Mode>) -> Result<Opened, DoorError> {
        let of_mode = mode.and_then(|mode| self.of_mode(mode));
        let mut awaited = Vec::new();
        for topic in [Some(&self.session), of_mode.as_ref()].into_iter().flatten() {
            // Every message of these topics is a retained value, so there is one if there was one.
            if self.door.subscribe(topic, false, None).await?.seq > 0 {
                awaited.push(topic);
            }
        }
        self.door.subscribe(&self.log, false, None).await?;
        let (mut snapshot, mut read, mut early) = (None::<Snapshot>, None::<KnownPosition>, Vec::new());
        while !awaited.is_empty() {
            let Ok(Some(message)) = timeout(ARRIVAL, inbox.recv()).await else { break };
            let topic = message.target.as_deref().and_then(|target| target.strip_prefix("topic:"));
            match awaited.iter().position(|known| Some(known.as_str()) == topic) {
                Some(at) if message.kind == SESSION => {
                    awaited.remove(at);
                    snapshot = message.payload().ok();
                }
                Some(at) => {
                    awaited.remove(at);
                    read = message.payload().ok();
                }
                None => early.push(message),
            }
        }
        let (epoch, newest) = self.newest().await?;
        let known = |position: Option<(&str, u64)>| position.filter(|(known, _)| *known == epoch).map_or(0, |(_, seq)| seq);
        let from = known(snapshot.as_ref().map(|snapshot| (snapshot.epoch.as_str(), snapshot.seq)));
        let read = read.map(|read| known(Some((read.epoch.as_str(), read.seq))));
        let messages = self.since(read.map_or(from, |read| read.min(from)), newest).await?;
        let mut session = snapshot.map(|snapshot| snapshot.session).unwrap_or_default();
        let changes = messages.iter().filter(|placed| placed.seq > from).filter(|placed| session.apply(&placed.message)).count();
        Ok(Opened { epoch, session, is_behind: changes > 0, read, messages, early })
    }

    /// The newest messages, at most a page of them, and the epoch.
    async fn newest(&self) -> Result<(String, Vec<Placed>), DoorError> {
        let page = self.page(json!({ "last": PAGE })).await?;
        let messages = placed(&page);
        Ok((page.epoch, messages))
    }

    /// The messages after a number: `newest`, and what is before it.
    async fn since(&self, seq: u64, newest: Vec<Placed>) -> Result<Vec<Placed>, DoorError> {
        let Some(first) = newest.first().map(|placed| placed.seq) else { return Ok(newest) };
        let mut before = Vec::new();
        let mut from = seq;
        // A full page may have something before it.
        if newest.len() >= PAGE as usize && seq < first {
            for _ in 0..MOST_PAGES {
                let page = self.page(json!({ "seq": from })).await?;
                before.extend(placed(&page).into_iter().filter(|placed| placed.seq < first));
                if !page.has_more || page.next >= first {
                    break;
                }
                from = page.next;
            }
        }
        before.extend(newest);
        Ok(before)
    }

    async fn page(&self, from: Value) -> Result<Page, DoorError> {
        let ask = json!({ "channel": format!("topic:{}", self.log), "from": from, "limit": PAGE });
        let answer = self.door.ask("channel:history", ask).await?;
        answer.payload().map_err(|_| DoorError::Refused(ErrorCode::Internal.into()))
    }

    /// The newest messages, at most `count`, the oldest first. The connection must be subscribed.
    ///
    /// # Errors
    /// Those of the door.
    pub async fn history(&self, count: usize) -> Result<Vec<Message>, DoorError> {
        let (_, newest) = self.newest().await?;
        let skipped = newest.len().saturating_sub(count);
        Ok(newest.into_iter().skip(skipped).map(|placed| placed.message).collect())
    }

    /// Stores a message. Returns its place once it is stored. `answers` is the id of the message
    /// that it answers.
    ///
    /// # Errors
    /// Those of the door.
    pub async fn publish(&self, message: &Message, answers: Option<String>) -> Result<Confirmed, DoorError> {
        let envelope = Outgoing::new(MESSAGE)
            .id(message.id())
            .to(&Address::Topic(self.log.clone()))
            .delivery(Delivery::Durable)
            .payload(message.to_json());
        self.door
            .publish(match answers {
                Some(id) => envelope.correlation_id(id),
                None => envelope,
            })
            .await
    }

    /// Makes the snapshot anew and stores it. Returns up to which message it holds.
    ///
    /// # Errors
    /// Those of the door.
    pub async fn keep_session(&self, base: Snapshot) -> Result<Snapshot, DoorError> {
        let (epoch, newest) = self.newest().await?;
        let from = if base.epoch == epoch { base.seq } else { 0 };
        let messages = self.since(from, newest).await?;
        let mut snapshot = Snapshot { epoch, ..base };
        for placed in messages.iter().filter(|placed| placed.seq > from) {
            snapshot.session.apply(&placed.message);
            snapshot.seq = placed.seq;
        }
        let payload = serde_json::to_value(&snapshot).unwrap_or_default();
        self.retain(&self.session, SESSION, payload).await?;
        Ok(snapshot)
    }

    /// Stores what a mode has read.
    ///
    /// # Errors
    /// Those of the door.
    pub async fn keep_read(&self, mode: Mode, position: &KnownPosition) -> Result<(), DoorError> {
        let Some(topic) = self.of_mode(mode) else { return Ok(()) };
        self.retain(&topic, READ, json!({ "epoch": position.epoch, "seq": position.seq })).await
    }

    async fn retain(&self, topic: &TopicName, kind: &'static str, payload: Value) -> Result<(), DoorError> {
        let message = Outgoing::new(kind).to(&Address::Topic(topic.clone())).delivery(Delivery::Durable).retain();
        self.door.publish(message.payload(payload)).await.map(drop)
    }

    /// What a message of the inbox is.
    pub fn read(&self, incoming: &Incoming) -> Arrived {
        match (&*incoming.kind, &incoming.position) {
            (MESSAGE, Some(position)) if position.channel.strip_prefix("topic:") == Some(self.log.as_str()) => {
                match incoming.payload().ok().and_then(Message::stored) {
                    Some(message) => Arrived::Message(Placed { seq: position.known.seq, message }, position.known.clone()),
                    None => Arrived::Other,
                }
            }
            (SESSION, _) => incoming.payload::<Snapshot>().map_or(Arrived::Other, |snapshot| Arrived::Snapshot(snapshot.seq)),
            _ => Arrived::Other,
        }
    }
}

fn placed(page: &Page) -> Vec<Placed> {
    let read = |text: &RawValue| {
        let incoming = Incoming::parse(text.get().to_owned()).ok().filter(|incoming| incoming.kind == MESSAGE)?;
        let seq = incoming.position.as_ref()?.known.seq;
        Some(Placed { seq, message: Message::stored(incoming.payload().ok()?)? })
    };
    page.messages.iter().filter_map(|text| read(text)).collect()
}
