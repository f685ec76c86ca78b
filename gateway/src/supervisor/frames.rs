//! What a supervisor client sends. Pure.

use serde_json::{Map, Value};

use super::kinds::{Alone, Kind};

/// A frame of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// `auth`: the client's key or token. Never logged.
    Auth {
        /// The key or token.
        token: String,
    },
    /// `ping`.
    Ping,
    /// A request, which gets exactly one reply.
    Request(Request),
}

/// A request for the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its type.
    pub kind: &'static Kind,
    /// Its other fields. Those that the kind requires are strings.
    pub fields: Map<String, Value>,
}

/// Why a frame cannot be read. The text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// It is not JSON, or not an object.
    #[error("the frame is not a JSON object")]
    NotAnObject,
    /// It has no `type`.
    #[error("missing field `type`")]
    NoType,
    /// Its `type` is unknown.
    #[error("unknown type `{0}`")]
    UnknownType(String),
    /// A field is missing or is not a string.
    #[error("`{kind}` needs the string `{field}`")]
    Missing {
        /// The type.
        kind: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// The longest unknown type that is repeated to the client, in characters.
const LONGEST_TOLD: usize = 64;

impl ClientFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// See [`FrameFault`].
    pub fn parse(text: &str) -> Result<Self, FrameFault> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else { return Err(FrameFault::NotAnObject) };
        let Some(Value::String(name)) = fields.remove("type") else { return Err(FrameFault::NoType) };
        match name.as_str() {
            "ping" => Ok(Self::Ping),
            "auth" => match fields.remove("token") {
                Some(Value::String(token)) => Ok(Self::Auth { token }),
                _ => Err(FrameFault::Missing { kind: "auth", field: "token" }),
            },
            name => match Kind::find(name) {
                Some(kind) => Request::new(kind, fields).map(Self::Request),
                None => Err(FrameFault::UnknownType(name.chars().take(LONGEST_TOLD).collect())),
            },
        }
    }
}

impl Request {
    /// A request with these fields.
    ///
    /// # Errors
    /// `Missing`.
    pub fn new(kind: &'static Kind, fields: Map<String, Value>) -> Result<Self, FrameFault> {
        match kind.required.iter().find(|field| !fields.get(**field).is_some_and(Value::is_string)) {
            Some(field) => Err(FrameFault::Missing { kind: kind.name, field }),
            None => Ok(Self { kind, fields }),
        }
    }

    /// A field that is a string; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The payload of the `message:send` for the agent: the frame as it came, and in `text` what a
    /// person would read, so that an agent that knows nothing of supervisors can answer.
    pub fn payload(&self) -> Value {
        let mut payload = self.fields.clone();
        payload.insert("type".to_owned(), self.kind.name.into());
        let text = match self.kind.alone {
            Alone::Acknowledged("email") => format!("Subject: {}\n\n{}", self.field("subject"), self.field("body")),
            _ => ["text", "message", "title"]
                .into_iter()
                .map(|name| self.field(name))
                .find(|text| !text.is_empty())
                .unwrap_or_default()
                .to_owned(),
        };
        payload.insert("text".to_owned(), text.into());
        Value::Object(payload)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(frame: &Value) -> Result<ClientFrame, FrameFault> {
        ClientFrame::parse(&frame.to_string())
    }

    #[test]
    fn requests_keep_their_fields_and_get_a_text_that_any_agent_can_answer() {
        let sms = json!({"type": "sms_received", "from": "+1", "to": "+2", "message": "hello", "user": "ann", "extra": 1});
        let Ok(ClientFrame::Request(request)) = parse(&sms) else { panic!("a request") };
        assert_eq!(
            request.payload(),
            json!({"type": "sms_received", "from": "+1", "to": "+2", "message": "hello", "user": "ann", "extra": 1, "text": "hello"})
        );
        let email =
            json!({"type": "email_received", "from": "a@b", "to": "c@d", "subject": "Hi", "body": "there", "user": "ann"});
        let Ok(ClientFrame::Request(request)) = parse(&email) else { panic!("a request") };
        assert_eq!(request.payload()["text"], "Subject: Hi\n\nthere");
    }

    #[test]
    fn faults_name_what_is_missing() {
        assert_eq!(ClientFrame::parse("x"), Err(FrameFault::NotAnObject));
        assert_eq!(ClientFrame::parse("[]"), Err(FrameFault::NotAnObject));
        assert_eq!(parse(&json!({"token": "x"})), Err(FrameFault::NoType));
        assert_eq!(parse(&json!({"type": "dance"})), Err(FrameFault::UnknownType("dance".into())));
        assert_eq!(parse(&json!({"type": "auth"})), Err(FrameFault::Missing { kind: "auth", field: "token" }));
        let partial = json!({"type": "sms_received", "from": "+1", "to": 2, "message": "x", "user": "u"});
        assert_eq!(parse(&partial), Err(FrameFault::Missing { kind: "sms_received", field: "to" }));
        assert_eq!(parse(&json!({"type": "ping", "more": 1})), Ok(ClientFrame::Ping));
    }
}
