use serde_json::{Value, json};

use super::*;
use crate::{envelope::Envelope, error::ErrorCode, id::AgentId};

fn agent_message(frame: &Value) -> Result<AgentMessage, ErrorCode> {
    let text = frame.to_string();
    let envelope = Envelope::parse(&text, 64).expect("valid envelope");
    AgentMessage::of(&envelope).map_err(|error| error.code)
}

#[test]
fn registration_keeps_unknown_fields_and_drops_what_the_bridge_states() {
    let payload = json!({"agent_id":"a","name":"A","colour":"red","status":"x"}).to_string();
    let description = AgentDescription::from_payload(Some(&payload)).expect("a description");
    assert_eq!(description.wanted_id().expect("valid").expect("named").as_str(), "a");
    let info = AgentInfo {
        agent_id: AgentId::new("a").expect("valid"),
        description,
        status: "idle".to_owned(),
        connected_at: String::new(),
    };
    let seen = serde_json::to_value(&info).expect("json");
    assert_eq!(seen["colour"], "red");
    assert_eq!(seen["status"], "idle");
    assert_eq!(seen["agent_id"], "a");
    assert_eq!(seen["model"], Value::Null);
}

#[test]
fn reserved_families_are_refused_and_unknown_types_routed() {
    assert_eq!(agent_message(&json!({"type":"system:reboot"})), Err(ErrorCode::ReservedType));
    assert_eq!(agent_message(&json!({"type":"connection:ack"})), Err(ErrorCode::ReservedType));
    assert_eq!(agent_message(&json!({"type":"agent:handoff"})), Ok(AgentMessage::Other));
    assert_eq!(agent_message(&json!({"type":"no:such"})), Ok(AgentMessage::Other));
}

#[test]
fn system_messages_have_the_envelope() {
    let frame = SystemMessage::Error(ErrorCode::NoAgent.into()).encode(Speaker::Bridge, None, Some("7"));
    let value: Value = serde_json::from_str(&frame).expect("json");
    assert_eq!(value["type"], "system:error");
    assert_eq!(value["source"], "bridge");
    assert_eq!(value["correlation_id"], "7");
    assert_eq!(value["payload"]["code"], "no_agent");
}
