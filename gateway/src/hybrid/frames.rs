//! Messages between the deployments of one user: what a client sends, what others get, and who gets
//! it. Pure.

use std::fmt;

use serde_json::{Map, Value, json};

/// The kind of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A web app.
    Web,
    /// A browser extension.
    Extension,
    /// A program on the user's machine.
    Local,
    /// A gateway of its own.
    Hybrid,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Web, Self::Extension, Self::Local, Self::Hybrid];

    /// The mode with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Extension => "extension",
            Self::Local => "local",
            Self::Hybrid => "hybrid",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A message as its receivers get it. It is also how it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Message(Map<String, Value>);

/// The frame is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not a JSON object")]
pub struct NotAnObject;

/// What a client leaves out.
const UNKNOWN: &str = "unknown";
/// The type of a message that reaches every mode.
const INTERVENTION: &str = "intervention";

impl Message {
    /// The message of a client's frame. Fields that the dialect does not know are kept. `id` and
    /// `now` are the bridge's.
    ///
    /// # Errors
    /// `NotAnObject`.
    pub fn of_frame(text: &str, user: &str, id: &str, now: &str) -> Result<Self, NotAnObject> {
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return Err(NotAnObject) };
        Ok(Self::of_fields(fields, user, id, now))
    }

    /// The same of an object.
    pub fn of_fields(mut fields: Map<String, Value>, user: &str, id: &str, now: &str) -> Self {
        for name in ["type", "source_mode"] {
            if !fields.get(name).is_some_and(Value::is_string) {
                fields.insert(name.to_owned(), UNKNOWN.into());
            }
        }
        let has_target = fields.get("target_mode").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !has_target {
            fields.insert("target_mode".to_owned(), Value::Null);
        }
        fields.entry("payload").or_insert_with(|| json!({}));
        for (name, value) in [("message_id", id), ("user_id", user), ("timestamp", now)] {
            fields.insert(name.to_owned(), value.into());
        }
        Self(fields)
    }

    /// A stored message; `None` if it is not one of this dialect.
    pub fn stored(payload: Value) -> Option<Self> {
        let Value::Object(fields) = payload else { return None };
        let is_one = ["type", "source_mode", "message_id"].iter().all(|name| fields.get(*name).is_some_and(Value::is_string));
        is_one.then_some(Self(fields))
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.text("message_id")
    }

    /// When the bridge got it.
    pub fn timestamp(&self) -> &str {
        self.text("timestamp")
    }

    /// Its payload.
    pub fn payload(&self) -> &Value {
        self.0.get("payload").unwrap_or(&Value::Null)
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it reaches every mode, also those that come later.
    pub fn is_intervention(&self) -> bool {
        self.kind() == INTERVENTION
    }

    /// Whether it is for clients in this mode: an intervention for all, a message with a target for
    /// that mode, any other message for all modes but its source.
    pub fn is_for(&self, mode: Mode) -> bool {
        let mode = mode.as_str();
        let target = self.0.get("target_mode").and_then(Value::as_str);
        self.is_intervention() || target.map_or(self.text("source_mode") != mode, |target| target == mode)
    }

    /// Its JSON.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// The first frame to a client.
pub fn greeting(connection: &str, mode: Mode, connected: &[String]) -> Value {
    json!({
        "type": "connection_ack",
        "connection_id": connection,
        "deployment_mode": mode.as_str(),
        "connected_deployments": connected,
    })
}

/// The second frame to a client: what the user's deployments have in common.
pub fn sync_data(session: &Value, recent: &[Message], modes: &[Mode]) -> Value {
    json!({
        "type": "sync_data",
        "user_session": session,
        "recent_messages": recent.iter().map(Message::to_json).collect::<Vec<_>>(),
        "connected_modes": modes.iter().map(|mode| mode.as_str()).collect::<Vec<_>>(),
    })
}

/// An error, with the bridge's code.
pub fn error(message: &str, code: &str, now: &str) -> Value {
    json!({ "type": "error", "message": message, "code": code, "timestamp": now })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frame: Value) -> Message {
        Message::of_frame(&frame.to_string(), "ann", "m1", "now").expect("an object")
    }

    fn receivers(frame: Value) -> Vec<&'static str> {
        let message = message(frame);
        Mode::ALL.into_iter().filter(|mode| message.is_for(*mode)).map(Mode::as_str).collect()
    }

    #[test]
    fn what_a_client_leaves_out_is_filled_in_and_what_the_bridge_says_cannot_be_claimed() {
        assert_eq!(
            message(json!({"message_id": "mine", "user_id": "eve", "extra": [1]})).to_json(),
            json!({"type": "unknown", "source_mode": "unknown", "target_mode": null, "payload": {}, "extra": [1],
                "message_id": "m1", "user_id": "ann", "timestamp": "now"})
        );
        assert_eq!(Message::of_frame("[]", "ann", "m1", "now"), Err(NotAnObject));
        assert_eq!(message(json!({"type": 5, "target_mode": ""})).kind(), "unknown");
    }

    #[test]
    fn a_message_reaches_its_target_or_every_mode_but_its_source() {
        assert_eq!(receivers(json!({"type": "sync", "source_mode": "web"})), ["extension", "local", "hybrid"]);
        assert_eq!(receivers(json!({"type": "sync", "source_mode": "web", "target_mode": "local"})), ["local"]);
        assert_eq!(receivers(json!({"type": "sync", "source_mode": "web", "target_mode": "mars"})), [""; 0]);
        assert_eq!(receivers(json!({"type": "sync"})).len(), 4);
        assert_eq!(receivers(json!({"type": "intervention", "source_mode": "web", "target_mode": "local"})).len(), 4);
    }
}
