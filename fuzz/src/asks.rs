//! What peers ask of the bridge: the payloads of the types that it understands.

use common::{
    envelope::Envelope,
    message::{AgentMessage, ClientMessage, MAX_DESCRIPTION_BYTES, MAX_HISTORY, MAX_RESUMED, PeerRequest},
};

const TYPES: [&str; 14] = [
    "connection:resume",
    "channel:history",
    "message:ack",
    "message:nack",
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

/// A payload is read within its bounds or refused, by sessions and by agents, and what is read says what the payload said. The first
/// byte says of which type it is.
pub fn asks(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    let Ok(payload) = std::str::from_utf8(payload) else { return };
    let kind = TYPES[usize::from(*first) % TYPES.len()];
    let text = format!(r#"{{"type":"{kind}","payload":{payload}}}"#);
    let Ok(envelope) = Envelope::parse(&text, 64) else { return };
    let common = match ClientMessage::of(&envelope) {
        Ok(ClientMessage::Common(request)) => Some(request),
        Ok(ClientMessage::Identify(secret) | ClientMessage::Refresh(secret)) => {
            assert!(payload.contains(secret.reveal()) || payload.contains('\\'), "it was not in the payload");
            None
        }
        Ok(ClientMessage::Route) | Err(_) => None,
    };
    if let Some(request) = &common {
        check(request);
    }
    match AgentMessage::of(&envelope) {
        Ok(AgentMessage::Common(request)) => {
            check(&request);
            assert_eq!(format!("{request:?}"), format!("{:?}", common.expect("both may ask for it")));
        }
        Ok(AgentMessage::Register(description)) => {
            let _ = description.wanted_id();
            let written = serde_json::to_string(&*description).expect("written").len();
            assert!(written <= 2 * MAX_DESCRIPTION_BYTES, "a description of {written} bytes");
        }
        Ok(AgentMessage::Status(status)) => assert!((1..=4 * 64).contains(&status.len())),
        Ok(AgentMessage::ListSessions(page)) => assert!((1..=1000).contains(&page.limit)),
        Ok(AgentMessage::Route) | Err(_) => {}
    }
}

fn check(request: &PeerRequest) {
    match request {
        PeerRequest::Resume(ask) => assert!(ask.channels.len() <= MAX_RESUMED),
        PeerRequest::History(ask) => assert!(ask.limit <= MAX_HISTORY),
        PeerRequest::Ack(ask) => assert!(ask.through.is_some() == ask.seqs.is_empty() && ask.seqs.len() <= 1000),
        PeerRequest::Subscribe { topic, .. } | PeerRequest::Unsubscribe { topic } => {
            assert!((1..=128).contains(&topic.as_str().len()) && topic.as_str().is_ascii());
        }
        PeerRequest::Nack(_) | PeerRequest::Ping | PeerRequest::Pong | PeerRequest::ListAgents => {}
    }
}
