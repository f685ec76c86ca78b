//! What one stranger may have stored: refused before anybody gets it, told, shown, and given back.

use common::{
    assertion::ClientIdentity,
    config::Settings,
    id::{ClientName, SessionId},
};
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker, eventually};

fn counted(settings: &mut Settings) {
    settings.limits.exempt_networks.clear();
    settings.store.session_quota.messages = 5;
    settings.store.address_quota.messages = 8;
}

fn identity(ip: &str) -> ClientIdentity {
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.ip = Some(ip.to_owned());
    identity
}

/// Leaves so many messages for an agent. Returns how many were accepted, and the error of the last
/// that was not.
async fn leave(peer: &mut Peer, count: usize) -> (usize, Value) {
    for number in 0..count {
        let id = format!("m{number}-{}", peer.address());
        peer.send(json!({"type":"message:note","id":id,"target":"agent:a","delivery":"durable","payload":number})).await;
    }
    let (mut accepted, mut refused) = (0, Value::Null);
    for _ in 0..count {
        let frame = loop {
            let frame = peer.next().await;
            if frame["type"] == "message:accepted" || frame["type"] == "system:error" {
                break frame;
            }
        };
        if frame["type"] == "message:accepted" {
            accepted += 1;
        } else {
            refused = frame["payload"].clone();
        }
    }
    (accepted, refused)
}

#[actix_rt::test]
async fn a_strangers_messages_end_at_its_quota_and_cost_others_nothing() {
    let broker = TestBroker::with(counted).await;
    broker.agent("a").await.close().await;
    let mut first = broker.session_as(identity("192.0.2.1")).await;
    let (accepted, refused) = leave(&mut first, 7).await;
    assert_eq!((accepted, refused["code"].as_str()), (5, Some("quota_exceeded")), "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("session") && text.contains("5 messages")), "{refused}");
    // A new session of the same address is the same stranger.
    let mut second = broker.session_as(identity("192.0.2.1")).await;
    let (accepted, refused) = leave(&mut second, 5).await;
    assert_eq!((accepted, refused["code"].as_str()), (3, Some("quota_exceeded")), "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("address")), "{refused}");
    let mut honest = broker.session_as(identity("198.51.100.1")).await;
    assert_eq!(leave(&mut honest, 5).await.0, 5);

    let quotas = broker.stats().await["store"]["quotas"].clone();
    assert_eq!((&quotas["refused"]["session"], &quotas["refused"]["address"]), (&json!(2), &json!(2)), "{quotas}");
    let address = json!("192.0.2.1");
    let of_address = quotas["fullest"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == address));
    assert_eq!(of_address.map(|row| row["messages"].clone()), Some(json!(8)), "{quotas}");

    // Nothing that was refused was delivered, and what is read is given back. Not by `agent()`,
    // which skips what waits.
    let mut agent = broker.dial("/ws/agent?agent_id=a", Some("Bearer test-agent-key")).await.expect("upgraded");
    for _ in 0..13 {
        agent.expect("message:note").await;
    }
    agent.expect_nothing().await;
    eventually("everything is given back", async || broker.stats().await["store"]["quotas"]["holders"] == 0).await;
    assert_eq!(leave(&mut first, 1).await.0, 1);
}

#[actix_rt::test]
async fn positions_are_shown_with_who_has_most() {
    let broker = TestBroker::with(counted).await;
    for (ip, sessions) in [("192.0.2.1", 3), ("198.51.100.1", 1)] {
        for _ in 0..sessions {
            let mut identity = identity(ip);
            identity.reading.client = Some(ClientName::new("tab").expect("a name"));
            let mut tab = broker.session_as(identity).await;
            for topic in ["t", "u"] {
                tab.send(json!({"type":"topic:subscribe","payload":{"topic":topic}})).await;
                tab.expect("topic:subscribed").await;
            }
            tab.close().await;
        }
    }
    eventually("all positions are stored", async || {
        let shown = broker.stats().await["store"]["positions"].clone();
        // Each also has the broadcasts that reach it.
        let each = shown["kept"].as_u64().unwrap_or(0) / 4;
        let largest = json!([
            {"kind": "address", "name": "192.0.2.1", "positions": 3 * each},
            {"kind": "address", "name": "198.51.100.1", "positions": each},
        ]);
        each >= 2 && shown == json!({"kept": 4 * each, "receivers": 4, "largest": largest})
    })
    .await;
}
