//! What a supervisor client is sent. Pure: the caller says what time it is.

use common::error::ErrorCode;
use serde_json::{Map, Value, json};

use super::{
    frames::Request,
    kinds::{ACKNOWLEDGED, Alone, PUSHES, REJECTED},
};

/// The prefix of an envelope's type that names a frame of this dialect: `supervisor:reminder_due`.
const FAMILY: &str = "supervisor:";
/// The type of an agent's message that it failed.
const FAILED: &str = "message:error";

/// An agent's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The envelope's type.
    pub kind: String,
    /// The envelope's id.
    pub id: Option<String>,
    /// The envelope's payload.
    pub payload: Value,
}

impl Answer {
    /// Whether the rest of a streamed answer is still to come.
    pub fn is_partial(kind: &str) -> bool {
        kind.split_once(':').is_some_and(|(_, verb)| verb == "delta" || verb == "progress")
    }

    /// The text in it.
    pub fn text(&self) -> Option<&str> {
        text_of(&self.payload)
    }
}

/// The text in a payload: the payload itself, or the first of its fields `text`, `message` and
/// `content` that is a string.
pub fn text_of(payload: &Value) -> Option<&str> {
    payload.as_str().or_else(|| ["text", "message", "content"].into_iter().find_map(|name| payload.get(name)?.as_str()))
}

/// The answer to `auth`.
pub fn authenticated(outcome: Result<(), ErrorCode>) -> Value {
    match outcome {
        Ok(()) => json!({"type": "auth_result", "success": true, "message": "Authenticated successfully"}),
        Err(code) => {
            json!({"type": "auth_result", "success": false, "message": "Invalid authentication token", "code": code.as_str()})
        }
    }
}

/// The answer to anything before `auth`.
pub fn not_authenticated() -> Value {
    error("Not authenticated", ErrorCode::Unauthorized.as_str())
}

/// The answer to `ping`.
pub fn pong() -> Value {
    json!({"type": "pong"})
}

/// An error, with the bridge's code.
pub fn error(message: &str, code: &str) -> Value {
    json!({"type": "error", "message": message, "code": code})
}

/// The reply to a request, made of the agent's answer. `now` is in RFC 3339.
///
/// An agent may answer with a whole frame: an envelope of the type `supervisor:<frame>`, or a
/// payload whose `type` is the frame's. Fields that it leaves out are filled in from the request.
/// Those by which clients recognise a reply are always the request's. Any other answer counts as a
/// plain text.
pub fn reply(request: &Request, answer: &Answer, now: &str) -> Value {
    let kind = request.kind;
    if answer.kind == FAILED {
        let code = answer.payload.get("code").and_then(Value::as_str).unwrap_or("agent_error");
        return error(answer.text().unwrap_or("the agent failed"), code);
    }
    let named = frame_name(&answer.kind, &answer.payload).filter(|name| kind.is_answered_by(name));
    let given = match (&answer.payload, named) {
        (Value::Object(fields), Some(_)) => fields.clone(),
        _ => Map::new(),
    };
    let text = answer.text();
    let Some(name) = named.or(kind.plain.filter(|_| text.is_some())) else {
        return error("the agent's answer is not one that this client understands", ErrorCode::InvalidPayload.as_str());
    };
    let mut frame = defaults(request, name, text.unwrap_or_default(), answer.id.as_deref(), now);
    frame.extend(given);
    frame.extend(fixed(request, name));
    Value::Object(frame)
}

/// The reply to a request for which no agent is there.
pub fn unanswered(request: &Request, now: &str) -> Value {
    match request.kind.alone {
        Alone::Acknowledged(_) => {
            let mut frame = defaults(request, ACKNOWLEDGED, "", None, now);
            frame.extend(fixed(request, ACKNOWLEDGED));
            Value::Object(frame)
        }
        Alone::Rejected => {
            let mut frame = fixed(request, REJECTED);
            frame.insert("reason".to_owned(), "no agent is connected".into());
            frame.insert("code".to_owned(), ErrorCode::AgentNotFound.as_str().into());
            Value::Object(frame)
        }
        Alone::Error => error("no agent is connected", ErrorCode::AgentNotFound.as_str()),
    }
}

/// The frame of a message that an agent sent by itself; `None` if it is nothing that clients are
/// sent unasked.
pub fn push(kind: &str, payload: &Value, now: &str) -> Option<Value> {
    let name = frame_name(kind, payload).filter(|name| PUSHES.contains(name))?;
    let mut frame = Map::from_iter([("timestamp".to_owned(), now.into())]);
    match payload {
        Value::Object(fields) => frame.extend(fields.clone()),
        Value::String(text) => drop(frame.insert("text".to_owned(), text.as_str().into())),
        _ => {}
    }
    frame.insert("type".to_owned(), name.into());
    Some(Value::Object(frame))
}

/// The frame that a message names.
fn frame_name<'a>(kind: &'a str, payload: &'a Value) -> Option<&'a str> {
    kind.strip_prefix(FAMILY).or_else(|| payload.get("type").and_then(Value::as_str))
}

/// The fields that an agent need not name.
fn defaults(request: &Request, name: &str, text: &str, id: Option<&str>, now: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut add = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
    match name {
        "send_sms_response" => add("to", request.field("from").into()),
        "send_email_response" => {
            add("to", request.field("from").into());
            add("subject", answer_subject(request.field("subject")).into());
        }
        "synthesis_complete" => add("duration_ms", 0.into()),
        "claude_code_response" => {
            add("message_id", id.into());
            add("cost_usd", Value::Null);
        }
        _ => {}
    }
    if !name.starts_with("send_") {
        add("timestamp", now.into());
    }
    if request.kind.plain == Some(name) {
        add(request.kind.text_field, text.into());
    }
    fields
}

/// The fields by which clients recognise a reply.
fn fixed(request: &Request, name: &str) -> Map<String, Value> {
    let mut fields = Map::from_iter([("type".to_owned(), name.into())]);
    for field in ["user", "session_id"] {
        if let Some(value) = request.fields.get(field) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    if let (ACKNOWLEDGED, Alone::Acknowledged(medium)) = (name, request.kind.alone) {
        fields.insert("message_type".to_owned(), medium.into());
    }
    fields
}

fn answer_subject(subject: &str) -> String {
    if subject.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("re:")) {
        subject.to_owned()
    } else {
        format!("Re: {subject}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::frames::ClientFrame;

    const NOW: &str = "2026-01-01T00:00:00.000Z";

    fn request(frame: Value) -> Request {
        match ClientFrame::parse(&frame.to_string()) {
            Ok(ClientFrame::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn sms() -> Request {
        request(json!({"type": "sms_received", "from": "+1", "to": "+2", "message": "hello", "user": "ann"}))
    }

    fn email() -> Request {
        request(json!({"type": "email_received", "from": "a@b", "to": "c@d", "subject": "Hi", "body": "x", "user": "ann"}))
    }

    fn answer(kind: &str, payload: Value) -> Answer {
        Answer { kind: kind.into(), id: Some("a1".into()), payload }
    }

    #[test]
    fn a_plain_text_becomes_the_frame_that_the_client_waits_for() {
        let text = answer("message:done", json!({"text": "HELLO"}));
        assert_eq!(
            reply(&sms(), &text, NOW),
            json!({"type": "send_sms_response", "to": "+1", "message": "HELLO", "user": "ann"})
        );
        assert_eq!(
            reply(&email(), &text, NOW),
            json!({"type": "send_email_response", "to": "a@b", "subject": "Re: Hi", "body": "HELLO", "user": "ann"})
        );
        let code = request(json!({"type": "claude_code_message", "session_id": "s", "message": "git status"}));
        assert_eq!(
            reply(&code, &text, NOW),
            json!({"type": "claude_code_response", "session_id": "s", "message_id": "a1", "content": "HELLO", "cost_usd": null, "timestamp": NOW})
        );
        let suggestion = request(json!({"type": "inject_suggestion", "text": "say hi", "priority": "high"}));
        assert_eq!(reply(&suggestion, &text, NOW), json!({"type": "suggestion_applied", "text": "HELLO", "timestamp": NOW}));
    }

    #[test]
    fn a_whole_frame_passes_but_the_client_recognises_its_own_request() {
        let frame =
            answer("message:done", json!({"type": "send_sms_response", "to": "+9", "message": "m", "user": "eve", "media": 1}));
        assert_eq!(
            reply(&sms(), &frame, NOW),
            json!({"type": "send_sms_response", "to": "+9", "message": "m", "user": "ann", "media": 1})
        );
        let acknowledged = answer("supervisor:message_acknowledged", Value::Null);
        assert_eq!(
            reply(&email(), &acknowledged, NOW),
            json!({"type": "message_acknowledged", "message_type": "email", "user": "ann", "timestamp": NOW})
        );
        let rejected = answer("supervisor:suggestion_rejected", json!({"reason": "later"}));
        let suggestion = request(json!({"type": "inject_suggestion", "text": "say hi"}));
        assert_eq!(reply(&suggestion, &rejected, NOW)["reason"], "later");
    }

    #[test]
    fn answers_that_mean_nothing_to_the_client_and_failures_are_errors_with_a_code() {
        assert_eq!(reply(&sms(), &answer("message:done", json!({"n": 1})), NOW)["code"], "invalid_payload");
        let failed = answer("message:error", json!({"code": "busy", "message": "too busy"}));
        assert_eq!(reply(&sms(), &failed, NOW), json!({"type": "error", "message": "too busy", "code": "busy"}));
        // The answer to another kind of request is a plain text, if it has one.
        let other = answer("message:done", json!({"type": "send_email_response", "text": "hi"}));
        assert_eq!(reply(&sms(), &other, NOW)["type"], "send_sms_response");
        let status = request(json!({"type": "get_session_status", "session_id": "s"}));
        assert_eq!(reply(&status, &answer("message:done", json!({"text": "fine"})), NOW)["type"], "error");
    }

    #[test]
    fn without_an_agent_messages_are_acknowledged_and_other_requests_refused() {
        assert_eq!(
            unanswered(&sms(), NOW),
            json!({"type": "message_acknowledged", "message_type": "sms", "user": "ann", "timestamp": NOW})
        );
        assert_eq!(unanswered(&request(json!({"type": "inject_suggestion", "text": "x"})), NOW)["type"], "suggestion_rejected");
        assert_eq!(unanswered(&request(json!({"type": "synthesize_text", "text": "x"})), NOW)["code"], "agent_not_found");
    }

    #[test]
    fn only_frames_that_cannot_be_taken_for_replies_are_pushed() {
        let due = json!({"reminder_id": "r", "message": "tea"});
        assert_eq!(
            push("supervisor:reminder_due", &due, NOW),
            Some(json!({"type": "reminder_due", "reminder_id": "r", "message": "tea", "timestamp": NOW}))
        );
        let speech = json!({"type": "user_speech", "duration_ms": 5, "timestamp": "then"});
        assert_eq!(push("message:send", &speech, NOW), Some(speech));
        assert_eq!(push("supervisor:send_sms_response", &json!({"message": "x", "user": "ann"}), NOW), None);
        assert_eq!(push("message:send", &json!({"text": "x"}), NOW), None);
    }
}
