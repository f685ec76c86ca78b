//! Requests of peers to the bridge: the payloads of the types that it understands.

use common::{
    envelope::Envelope,
    message::{AgentDescription, ClientMessage, HistoryAsk, MAX_DESCRIPTION_BYTES, MAX_HISTORY, MAX_RESUMED, ResumeAsk},
};
use websocket_server::{
    Side,
    services::{self, AckAsk, ExtendAsk, NackAsk, SessionListAsk, StatusAsk, TopicAsk},
};

/// Types whose payloads are checked closely here. The types of services that are added later follow
/// them.
const TYPES: [&str; 15] = [
    "connection:resume",
    "channel:history",
    "message:ack",
    "message:nack",
    "message:extend",
    "topic:subscribe",
    "topic:unsubscribe",
    "connection:identify",
    "connection:refresh",
    "agent:register",
    "agent:status",
    "session:list",
    "agent:list",
    "connection:other",
    "message:send",
];

/// A payload is read within its bounds or refused, alike from sessions and agents, and the result
/// says what the payload said. The first byte selects the type.
pub fn asks(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    let Ok(payload) = std::str::from_utf8(payload) else { return };
    let others = services::types().filter(|kind| !TYPES.contains(kind));
    let types: Vec<_> = TYPES.into_iter().chain(others).collect();
    let kind = types[usize::from(*first) % types.len()];
    let text = format!(r#"{{"type":"{kind}","target":"bridge","payload":{payload}}}"#);
    let Ok(envelope) = Envelope::parse(&text, 64) else { return };
    let read = |side| services::read(side, &envelope).map(|ask| ask.map(|ask| format!("{ask:?}")));
    let (by_session, by_agent) = (read(Side::Session), read(Side::Agent));
    if let Ok(Some(by_session)) = &by_session {
        assert_eq!(Some(by_session), by_agent.as_ref().ok().and_then(Option::as_ref), "agents may ask for it too");
    }
    if let Ok(ClientMessage::Identify(secret) | ClientMessage::Refresh(secret)) = ClientMessage::of(&envelope) {
        assert!(payload.contains(secret.reveal()) || payload.contains('\\'), "it was not in the payload");
    }
    let is_asked = matches!(by_agent, Ok(Some(_)));
    if let Some(is_valid) = check(kind, envelope.payload) {
        assert_eq!(is_asked, is_valid, "{kind} {payload}");
    }
}

/// Whether a payload of a service's type is valid. What is read from it keeps its bounds. `None`:
/// this is not known of the type.
fn check(kind: &str, payload: Option<&str>) -> Option<bool> {
    if !TYPES.contains(&kind) {
        return None;
    }
    Some(match kind {
        "connection:resume" => ResumeAsk::from_payload(payload).is_ok_and(|ask| holds(ask.channels.len() <= MAX_RESUMED)),
        "channel:history" => HistoryAsk::from_payload(payload).is_ok_and(|ask| holds(ask.limit <= MAX_HISTORY)),
        "message:ack" => AckAsk::from_payload(payload)
            .is_ok_and(|ask| holds(ask.through.is_some() == ask.seqs.is_empty() && ask.seqs.len() <= 1000)),
        "message:nack" => NackAsk::from_payload(payload).is_ok(),
        "message:extend" => ExtendAsk::from_payload(payload).is_ok_and(|ask| holds((1..=3_600_000).contains(&ask.by_ms))),
        "topic:subscribe" | "topic:unsubscribe" => TopicAsk::from_payload(payload)
            .and_then(|ask| ask.topic())
            .is_ok_and(|topic| holds((1..=128).contains(&topic.as_str().len()) && topic.as_str().is_ascii())),
        "agent:register" => AgentDescription::from_payload(payload).is_ok_and(|description| {
            let _ = description.wanted_id();
            let written = serde_json::to_string(&description).expect("written").len();
            holds(written <= 2 * MAX_DESCRIPTION_BYTES)
        }),
        "session:list" => SessionListAsk::from_payload(payload).is_ok_and(|page| holds((1..=1000).contains(&page.limit))),
        "agent:status" => StatusAsk::from_payload(payload).is_ok(),
        "agent:list" => true,
        _ => false,
    })
}

fn holds(bound: bool) -> bool {
    assert!(bound, "a bound is not kept");
    true
}
