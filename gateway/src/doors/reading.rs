//! The receiver's side: its topics, its position in each channel, and what it must acknowledge.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use common::{
    assertion::Acks,
    id::TopicName,
    message::{KnownPosition, Start},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::incoming::{Incoming, Position};

/// The most numbers in one `message:ack`.
const MOST_ACKS: usize = 1000;
/// The most channels in one `connection:resume`.
const MOST_RESUMED: usize = common::message::MAX_RESUMED;

/// A receiver's positions, by channel.
pub type Positions = BTreeMap<String, KnownPosition>;

/// See the module.
#[derive(Debug)]
pub struct Reader {
    acks: Acks,
    /// The subscribed topics, and whether with presence. Bounded by the broker's limit on
    /// subscriptions.
    topics: BTreeMap<TopicName, bool>,
    /// Bounded by the topics, and the few inboxes and broadcasts that reach one receiver.
    positions: Positions,
    /// What must be acknowledged, by inbox. Bounded by what the broker has delivered without an
    /// acknowledgement.
    due: BTreeMap<String, BTreeSet<u64>>,
}

/// The content of `topic:subscribed`.
#[derive(Deserialize)]
struct Subscribed {
    epoch: String,
    seq: u64,
    #[serde(default)]
    from: Option<u64>,
}

/// The content of `connection:resumed`.
#[derive(Deserialize)]
struct Resumed {
    epoch: String,
    channels: BTreeMap<String, From>,
}

#[derive(Deserialize)]
struct From {
    from: u64,
}

impl Reader {
    /// A receiver that continues from these positions.
    pub fn new(acks: Acks, positions: Positions) -> Self {
        let topics = positions.keys().filter_map(|channel| channel.strip_prefix("topic:"));
        let topics = topics.filter_map(|name| TopicName::new(name).ok()).map(|name| (name, false)).collect();
        Self { acks, topics, positions, due: BTreeMap::new() }
    }

    /// Its positions.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Whether it has positions, so that the broker must hold messages back until it knows them.
    pub fn resumes(&self) -> bool {
        self.positions.keys().any(|channel| self.is_resumed(channel))
    }

    /// Whether the position of a channel is sent to the broker. That acknowledges an inbox, which a
    /// receiver with explicit acknowledgements does itself.
    fn is_resumed(&self, channel: &str) -> bool {
        self.acks == Acks::Automatic || !is_inbox(channel)
    }

    /// A message has arrived.
    pub fn on_message(&mut self, message: &Incoming) {
        let Some(Position { channel, known }) = message.position.as_ref().filter(|_| !message.retained) else { return };
        match self.positions.get_mut(channel.as_str()) {
            Some(before) if before.epoch == known.epoch => before.seq = before.seq.max(known.seq),
            Some(before) => before.clone_from(known),
            None if channel.strip_prefix("topic:").is_none_or(|name| self.topics.contains_key(name)) => {
                self.positions.insert(channel.clone(), known.clone());
            }
            // A last message of a topic whose subscription was ended.
            None => {}
        }
    }

    /// The broker has answered a subscription.
    pub fn on_subscribed(&mut self, topic: &TopicName, presence: bool, answer: &Incoming) {
        self.topics.insert(topic.clone(), presence);
        if let Ok(Subscribed { epoch, seq, from }) = answer.payload() {
            self.positions.insert(format!("topic:{topic}"), KnownPosition { epoch, seq: from.unwrap_or(seq) });
        }
    }

    /// The subscription is ended.
    pub fn unsubscribe(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
        self.positions.remove(&format!("topic:{topic}"));
    }

    /// The broker has said where it continues.
    pub fn on_resumed(&mut self, answer: &Incoming) {
        let Ok(Resumed { epoch, channels }) = answer.payload() else { return };
        for (channel, From { from }) in channels {
            if let Some(name) = channel.strip_prefix("topic:").and_then(|name| TopicName::new(name).ok()) {
                self.topics.entry(name).or_default();
            }
            self.positions.insert(channel, KnownPosition { epoch: epoch.clone(), seq: from });
        }
    }

    /// A message of an inbox must be acknowledged.
    pub fn acknowledge(&mut self, channel: &str, seq: u64) {
        self.due.entry(channel.to_owned()).or_default().insert(seq);
    }

    /// Whether something must be acknowledged.
    pub fn owes_acks(&self) -> bool {
        !self.due.is_empty()
    }

    /// The payload of the next `message:ack`.
    pub fn next_ack(&mut self) -> Option<Value> {
        let mut entry = self.due.first_entry()?;
        let seqs: Vec<u64> = std::iter::from_fn(|| entry.get_mut().pop_first()).take(MOST_ACKS).collect();
        let channel = entry.key().clone();
        if entry.get().is_empty() {
            entry.remove();
        }
        Some(json!({ "channel": channel, "seqs": seqs }))
    }

    /// The payload of `connection:resume` on a new connection, and the subscriptions that it cannot
    /// restore.
    pub fn resume(&self) -> (Value, Vec<(TopicName, Option<Start>)>) {
        let with_presence =
            |channel: &str| channel.strip_prefix("topic:").is_some_and(|name| self.topics.get(name) == Some(&true));
        let resumed = |channel: &&String| self.is_resumed(channel) && !with_presence(channel);
        let channels: BTreeMap<_, _> = self.positions.iter().filter(|(channel, _)| resumed(channel)).take(MOST_RESUMED).collect();
        let others = self.topics.keys().map(|topic| (topic, format!("topic:{topic}")));
        let others = others.filter(|(_, channel)| !channels.contains_key(channel)).map(|(topic, channel)| {
            let start = self.positions.get(&channel).cloned();
            (topic.clone(), start.map(|KnownPosition { epoch, seq }| Start::After { epoch: Some(epoch), seq }))
        });
        (json!({ "channels": channels }), others.collect())
    }

    /// Whether the topic's subscription is with presence.
    pub fn has_presence(&self, topic: &TopicName) -> bool {
        self.topics.get(topic).copied().unwrap_or_default()
    }
}

fn is_inbox(channel: &str) -> bool {
    ["agent:", "session:", "user:"].iter().any(|kind| channel.starts_with(kind))
}

/// A start as in `topic:subscribe` and `channel:history`.
pub fn start_json(start: &Start) -> Value {
    match start {
        Start::After { epoch: Some(epoch), seq } => json!({ "epoch": epoch, "seq": seq }),
        Start::After { epoch: None, seq } => json!({ "seq": seq }),
        Start::Last(count) => json!({ "last": count }),
        Start::Since(ms) => json!({ "since": common::timestamp::format_ms(*ms) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, epoch: &str, seq: u64) -> Incoming {
        let frame = json!({"type": "job:new", "channel": channel, "epoch": epoch, "seq": seq});
        Incoming::parse(frame.to_string()).expect("an envelope")
    }

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("a name")
    }

    fn subscribed(reader: &mut Reader, name: &str, presence: bool, seq: u64) {
        let answer = json!({"type": "topic:subscribed", "payload": {"topic": name, "epoch": "e", "seq": seq}});
        reader.on_subscribed(&topic(name), presence, &Incoming::parse(answer.to_string()).expect("an envelope"));
    }

    #[test]
    fn a_reader_goes_on_after_what_it_has() {
        let mut reader = Reader::new(Acks::Automatic, Positions::new());
        assert!(!reader.resumes());
        subscribed(&mut reader, "a", false, 3);
        reader.on_message(&message("topic:a", "e", 5));
        reader.on_message(&message("topic:a", "e", 4));
        reader.on_message(&message("agent:x", "e", 9));
        reader.on_message(&message("topic:never", "e", 1));
        let channels = json!({"topic:a": {"epoch": "e", "seq": 5}, "agent:x": {"epoch": "e", "seq": 9}});
        assert_eq!(reader.resume(), (json!({ "channels": channels }), Vec::new()));
        reader.unsubscribe(&topic("a"));
        reader.on_message(&message("topic:a", "e", 6));
        assert_eq!(reader.positions().keys().collect::<Vec<_>>(), ["agent:x"]);
    }

    #[test]
    fn another_history_begins_anew() {
        let mut reader = Reader::new(Acks::Automatic, Positions::new());
        reader.on_message(&message("agent:x", "e", 9));
        reader.on_message(&message("agent:x", "f", 2));
        assert_eq!(reader.positions()["agent:x"], KnownPosition { epoch: "f".into(), seq: 2 });
    }

    #[test]
    fn presence_is_asked_for_again_and_inboxes_that_are_acknowledged_explicitly_are_not_resumed() {
        let mut reader = Reader::new(Acks::Explicit, Positions::new());
        subscribed(&mut reader, "a", true, 3);
        reader.on_message(&message("agent:x", "e", 9));
        let start = Start::After { epoch: Some("e".into()), seq: 3 };
        assert_eq!(reader.resume(), (json!({"channels": {}}), vec![(topic("a"), Some(start))]));
        assert!(reader.has_presence(&topic("a")));
    }

    #[test]
    fn acknowledgements_are_put_together_and_bounded() {
        let mut reader = Reader::new(Acks::Explicit, Positions::new());
        for seq in 1..=1500 {
            reader.acknowledge("agent:x", seq);
        }
        let counts: Vec<_> =
            std::iter::from_fn(|| reader.next_ack()).map(|ack| ack["seqs"].as_array().expect("a list").len()).collect();
        assert_eq!(counts, [1000, 500]);
        assert!(!reader.owes_acks());
    }
}
