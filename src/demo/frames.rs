//! The frames that the demo agent reads and writes: the envelope of docs/protocol.md, as far as it needs it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// A frame from the broker.
#[derive(Debug, Default, Deserialize)]
pub struct Incoming {
    /// `family:verb`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The message's id.
    #[serde(default)]
    pub id: Option<String>,
    /// Who sent it, as the broker stamped it.
    #[serde(default)]
    pub source: Option<String>,
    /// The message it is about.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Its content.
    #[serde(default)]
    pub payload: Value,
}

impl Incoming {
    /// The text of a question: the payload's `text`, or the payload itself where it is a string.
    pub fn text(&self) -> Option<&str> {
        self.payload.as_str().or_else(|| self.payload.get("text")?.as_str())
    }
}

/// A frame to the broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outgoing {
    /// The message's id.
    pub id: String,
    /// `family:verb`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whom it is for; none: the bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The question it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Its content.
    pub payload: Value,
}

impl Outgoing {
    /// A frame for the bridge itself.
    pub fn to_bridge(kind: &'static str, payload: Value) -> Self {
        Self { id: Uuid::new_v4().to_string(), kind, target: None, correlation_id: None, payload }
    }

    /// A frame that answers a question.
    pub fn reply(kind: &'static str, asker: &str, question: &str, payload: Value) -> Self {
        Self { target: Some(asker.to_owned()), correlation_id: Some(question.to_owned()), ..Self::to_bridge(kind, payload) }
    }

    /// The first frame of every connection: who this agent is.
    pub fn register(agent_id: &str, max_concurrency: usize) -> Self {
        let payload = json!({
            "agent_id": agent_id,
            "name": "Demo agent",
            "type": "demo",
            "capabilities": ["help", "echo", "time", "count", "fail"],
            "version": env!("CARGO_PKG_VERSION"),
            "max_concurrency": max_concurrency,
        });
        Self::to_bridge("agent:register", payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_from_both_shapes_of_payload() {
        let text = |payload: &str| {
            let frame: Incoming = serde_json::from_str(&format!(r#"{{"type":"message:send","payload":{payload}}}"#)).unwrap();
            frame.text().map(str::to_owned)
        };
        assert_eq!(text(r#"{"text":"a","more":1}"#), Some("a".into()));
        assert_eq!(text(r#""b""#), Some("b".into()));
        for other in ["null", "5", "[]", r#"{"text":5}"#, "{}"] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn a_frame_for_the_bridge_has_no_empty_fields() {
        let frame = serde_json::to_value(Outgoing::to_bridge("agent:status", json!({"status": "idle"}))).unwrap();
        assert_eq!(frame.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "payload", "type"]);
    }
}
