//! One reader of a topic: what it sends to the broker, and which of the broker's messages become
//! events of its stream. Pure.

use common::{
    error::{ClientError, ErrorCode},
    id::TopicName,
    message::{KnownPosition, Start},
    timestamp::millis,
};
use gateway::doors::{BridgeError, Incoming, Outgoing};
use serde::Deserialize;
use transport::event_stream::write_event;

/// The outcome of a message from the broker.
#[derive(Debug)]
pub enum Outcome {
    /// It is not for the reader.
    Nothing,
    /// These bytes are to be written to the stream.
    Event(String),
    /// The subscription is refused: there is nothing to read.
    Refused(ClientError),
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    topic: TopicName,
    /// Where the next subscription begins: at first where the reader asked, later after the last
    /// message that it was given.
    start: Option<Start>,
    /// The id of the subscription that is not answered yet.
    asked: Option<String>,
    is_open: bool,
}

/// The part of `topic:subscribed` that is used.
#[derive(Deserialize)]
struct Subscribed {
    epoch: String,
    seq: u64,
    #[serde(default)]
    from: Option<u64>,
}

impl Reader {
    /// A reader of this topic. Without a `start` it gets the retained value, and then new messages.
    pub fn new(topic: TopicName, start: Option<Start>) -> Self {
        Self { topic, start, asked: None, is_open: false }
    }

    /// Whether the broker has ever accepted its subscription.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The text frame that it sends to the broker on a new connection.
    pub fn subscribe(&mut self) -> String {
        let ask = Outgoing::subscription(&self.topic, false, self.start.as_ref());
        self.asked = Some(ask.message_id().to_owned());
        ask.encode()
    }

    /// A message from the broker or from this edge has arrived.
    pub fn on_text(&mut self, text: &str) -> Outcome {
        let Ok(message) = Incoming::parse(text) else { return Outcome::Nothing };
        if message.is_from_bridge() {
            return self.on_bridge(&message);
        }
        let topic = message.target.as_deref().and_then(|target| target.strip_prefix("topic:"));
        if topic != Some(self.topic.as_str()) {
            return Outcome::Nothing;
        }
        let position = message.position.as_ref().filter(|_| !message.retained).map(|position| &position.known);
        if let Some(position) = position {
            self.go_on_after(position);
        }
        event(position, None, text)
    }

    fn on_bridge(&mut self, message: &Incoming) -> Outcome {
        if self.asked.is_some() && message.correlation_id == self.asked {
            self.asked = None;
            return match message.payload::<Subscribed>() {
                Ok(Subscribed { epoch, seq, from }) if message.kind == "topic:subscribed" => {
                    let position = KnownPosition { epoch, seq: from.unwrap_or(seq) };
                    self.go_on_after(&position);
                    self.is_open = true;
                    event(Some(&position), Some(&message.kind), message.text())
                }
                _ if message.kind == "system:error" => Outcome::Refused(refusal(BridgeError::of(message))),
                _ => Outcome::Refused(ErrorCode::Internal.into()),
            };
        }
        match message.kind.as_str() {
            "system:lost" | "system:draining" | "system:upstream" | "connection:expiring" => {
                event(None, Some(&message.kind), message.text())
            }
            _ => Outcome::Nothing,
        }
    }

    fn go_on_after(&mut self, position: &KnownPosition) {
        let KnownPosition { epoch, seq } = position.clone();
        self.start = Some(Start::After { epoch: Some(epoch), seq });
    }
}

fn event(position: Option<&KnownPosition>, name: Option<&str>, text: &str) -> Outcome {
    let mut event = String::with_capacity(text.len() + 64);
    write_event(&mut event, position, name, text);
    Outcome::Event(event)
}

/// The bridge's refusal, as this edge passes it on.
fn refusal(error: BridgeError) -> ClientError {
    let BridgeError { code, message, temporary, target, retry_after, .. } = error;
    let retry_after_ms = retry_after.map(millis);
    ClientError { code: code.unwrap_or(ErrorCode::Internal), message, temporary, target, retry_after_ms }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reader(start: Option<Start>) -> Reader {
        Reader::new(TopicName::new("news").expect("a name"), start)
    }

    /// The payload and the id of the reader's next subscription.
    fn asked(reader: &mut Reader) -> (Value, String) {
        let ask: Value = serde_json::from_str(&reader.subscribe()).expect("JSON");
        assert_eq!(ask["type"], "topic:subscribe");
        (ask["payload"].clone(), ask["id"].as_str().expect("an id").to_owned())
    }

    fn subscribed(id: &str, payload: &Value) -> String {
        json!({"type": "topic:subscribed", "source": "bridge", "correlation_id": id, "payload": payload}).to_string()
    }

    fn event_of(outcome: Outcome) -> String {
        match outcome {
            Outcome::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    fn message(seq: u64) -> String {
        json!({"type": "job:new", "source": "agent:a", "target": "topic:news", "channel": "topic:news", "epoch": "e", "seq": seq})
            .to_string()
    }

    #[test]
    fn a_reader_is_open_once_its_subscription_is_accepted_and_goes_on_where_it_was() {
        let mut reader = reader(None);
        let (ask, id) = asked(&mut reader);
        assert_eq!(ask["from"], Value::Null);
        assert!(!reader.is_open());
        let Outcome::Event(event) = reader.on_text(&subscribed(&id, &json!({"epoch": "e", "seq": 4}))) else {
            panic!("an event")
        };
        assert!(event.starts_with("id: e:4\nevent: topic:subscribed\n"), "{event}");
        assert!(reader.is_open());
        assert_eq!(asked(&mut reader).0["from"], json!({"epoch": "e", "seq": 4}), "also before anything came");
        assert_eq!(event_of(reader.on_text(&message(7))), format!("id: e:7\ndata: {}\n\n", message(7)));
        assert_eq!(asked(&mut reader).0["from"], json!({"epoch": "e", "seq": 7}));
    }

    #[test]
    fn what_follows_a_start_begins_where_the_broker_says() {
        let mut reader = reader(Some(Start::Last(3)));
        let (ask, id) = asked(&mut reader);
        assert_eq!(ask["from"], json!({"last": 3}));
        reader.on_text(&subscribed(&id, &json!({"epoch": "e", "seq": 9, "from": 6})));
        assert_eq!(asked(&mut reader).0["from"], json!({"epoch": "e", "seq": 6}));
    }

    #[test]
    fn live_messages_and_retained_values_are_events_without_a_position() {
        let mut reader = reader(None);
        let live = json!({"type": "message:delta", "source": "agent:a", "target": "topic:news", "payload": 1}).to_string();
        assert_eq!(event_of(reader.on_text(&live)), format!("data: {live}\n\n"));
        let kept = json!({"type": "job:new", "source": "agent:a", "target": "topic:news", "channel": "topic:news", "epoch": "e",
            "seq": 2, "retained": true})
        .to_string();
        assert_eq!(event_of(reader.on_text(&kept)), format!("data: {kept}\n\n"));
        assert_eq!(asked(&mut reader).0["from"], Value::Null);
    }

    #[test]
    fn what_is_of_another_channel_or_for_the_session_is_none_of_its_events() {
        let mut reader = reader(None);
        for (source, target, kind) in [
            ("agent:a", "topic:other", "job:new"),
            ("agent:a", "session:s", "message:send"),
            ("bridge", "session:s", "connection:ack"),
            ("bridge", "session:s", "agent:connected"),
        ] {
            let frame = json!({"type": kind, "source": source, "target": target}).to_string();
            assert!(matches!(reader.on_text(&frame), Outcome::Nothing), "{frame}");
        }
        let lost = json!({"type": "system:lost", "source": "bridge", "payload": {"count": 2}}).to_string();
        assert_eq!(event_of(reader.on_text(&lost)), format!("event: system:lost\ndata: {lost}\n\n"));
        assert!(matches!(reader.on_text("rubbish"), Outcome::Nothing));
    }

    #[test]
    fn a_refused_subscription_has_the_brokers_code() {
        let mut reader = reader(None);
        let (_, id) = asked(&mut reader);
        let error = json!({"code": "not_allowed", "message": "no", "temporary": false});
        let refused = json!({"type": "system:error", "source": "bridge", "correlation_id": id, "payload": error}).to_string();
        let Outcome::Refused(error) = reader.on_text(&refused) else { panic!("refused") };
        assert_eq!((error.code, reader.is_open()), (ErrorCode::NotAllowed, false));
        assert!(matches!(reader.on_text(&refused), Outcome::Nothing), "of a question that is answered");
    }
}
