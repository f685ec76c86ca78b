//! The dialect `supervisor`: frames of its clients, answers of agents, forms of its webhooks.

use common::secret::Secret;
use gateway::supervisor::{
    answers::{Answer, push, reply, text_of, unanswered},
    frames::ClientFrame,
    kinds::PUSHES,
    mail, twilio,
};
use serde_json::Value;

/// A client's frame is read or refused, and every answer to it is one that its client recognises.
/// The first byte says what the input is.
pub fn supervisor(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first % 4 {
        0 => frame(rest),
        1 => webhook(rest),
        2 => escaped(rest),
        _ => posted(rest),
    }
}

/// A frame, and behind a line feed the payload of an agent's answer.
fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (frame, payload) = text.split_once('\n').unwrap_or((text, "null"));
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    if let Some(pushed) = push("message:send", &payload, "now") {
        assert!(pushed["type"].as_str().is_some_and(|name| PUSHES.contains(&name)));
    }
    let Ok(ClientFrame::Request(request)) = ClientFrame::parse(frame) else { return };
    assert!(request.payload()["text"].is_string());
    for kind in ["message:done", "message:error", "supervisor:message_acknowledged"] {
        let answer = Answer { kind: kind.to_owned(), id: None, payload: payload.clone() };
        check(&request, &reply(&request, &answer, "now"));
    }
    check(&request, &unanswered(&request, "now"));
    let _ = text_of(&payload);
}

fn check(request: &gateway::supervisor::frames::Request, frame: &Value) {
    let name = frame["type"].as_str().expect("a type");
    if name == "error" {
        assert!(frame["message"].is_string() && frame["code"].is_string());
        return;
    }
    assert!(request.kind.is_answered_by(name), "{name} does not answer {}", request.kind.name);
    if request.fields.contains_key("user") {
        assert_eq!(frame["user"], request.fields["user"]);
    }
}

/// A signature and a form: nothing that this token did not sign is accepted.
fn webhook(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (signature, form) = text.split_once('\n').unwrap_or((text, ""));
    let fields: Vec<_> = form.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let token = Secret::new("a token that the input does not know");
    assert!(!twilio::is_signed(&token, "https://bridge.example/sms/inbound", &fields, signature));
}

/// No text gets out of its element.
fn escaped(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let page = twilio::twiml(Some(text));
    let inner = page.split_once("<Response>").and_then(|(_, rest)| rest.strip_suffix("</Response>")).expect("a response");
    let inner = inner.replace("<Message>", "").replace("</Message>", "");
    assert!(!inner.contains('<') && !inner.contains('>'));
}

/// Fields of a mail, a line each.
fn posted(data: &[u8]) {
    let names = ["from", "to", "subject", "text", "html", "charsets"];
    let lines = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let fields: mail::Fields = names.iter().map(|name| (*name).to_owned()).zip(lines).collect();
    if let Ok(request) = mail::request_of(&fields) {
        assert!(request.payload()["text"].is_string());
    }
}
