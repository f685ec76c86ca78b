//! Many senders to one agent that reads slowly: nobody waits behind another's backlog.

use common::{assertion::ClientIdentity, id::SessionId};
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Peer, TestBroker};

fn identity(ip: &str) -> ClientIdentity {
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.ip = Some(ip.to_owned());
    identity
}

/// Sends to an agent until the broker reads nothing for a while, or so many were sent.
async fn flood(peer: &mut Peer, count: usize) {
    let payload = "x".repeat(1000);
    for number in 0..count {
        let frame = json!({"type":"message:send","id":format!("f{number}"),"target":"agent:slow","payload":payload});
        peer.socket.feed(Message::text(frame.to_string())).await.expect("taken");
        if number % 100 == 0 {
            peer.socket.flush().await.expect("sent");
        }
    }
    peer.socket.flush().await.expect("sent");
    peer.settle().await;
}

#[actix_rt::test]
async fn an_honest_request_waits_its_turn_among_senders_and_not_behind_a_flood() {
    let broker = TestBroker::with(|settings| {
        settings.limits.exempt_networks.clear();
        // The outbox is full long before the flood ends, and what the kernel holds is little
        // compared to it.
        settings.limits.outbox_bytes = 16 << 20;
    })
    .await;
    let mut agent = broker.agent("slow").await;
    // Two sessions of one address flood an agent that reads nothing: more than kernel and outbox
    // take.
    let mut floods = [broker.session_as(identity("192.0.2.1")).await, broker.session_as(identity("192.0.2.1")).await];
    for peer in &mut floods {
        flood(peer, 15_000).await;
    }
    let stats = broker.stats().await;
    assert!(stats["slow_consumers"]["dropped_messages"].as_u64() > Some(1000), "{}", stats["slow_consumers"]);

    // The newcomer is neither refused nor lost.
    let mut honest = broker.session_as(identity("198.51.100.1")).await;
    for number in 0..6 {
        let id = format!("q{number}");
        honest.send(json!({"type":"q:ask","id":id,"target":"agent:slow","timeout_ms":60_000,"payload":number})).await;
    }
    honest.settle().await;

    // Once what was in the kernel and in the front is read, it has its turns.
    let (mut read, mut between, mut asked) = (0, Vec::new(), 0);
    while asked < 6 {
        let frame = agent.next().await;
        read += 1;
        if frame["type"] == "q:ask" {
            assert_eq!(frame["payload"], asked, "its own order is kept");
            between.push(read);
            asked += 1;
            agent.send(json!({"type":"q:answer","target":frame["source"],"correlation_id":frame["id"]})).await;
        }
    }
    let waiting = broker.stats().await["queues"]["outboxes"]["frames"].as_u64().expect("a number");
    assert!(waiting > 8000, "the flood is still there: {waiting} frames, after {read}");
    assert!(between.windows(2).all(|pair| pair[1] - pair[0] <= 10), "{between:?}");
    for number in 0..6 {
        assert_eq!(honest.expect("q:answer").await["correlation_id"], format!("q{number}"));
    }
}

#[actix_rt::test]
async fn an_agent_that_reads_on_is_not_closed_because_of_a_flood() {
    let broker = TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 64 << 10;
        settings.limits.slow_consumer_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let mut agent = broker.agent("slow").await;
    let mut session = broker.session().await;
    let begun = std::time::Instant::now();
    // It takes a few frames now and then, far less than is sent to it, for several times as long as
    // a reader may be stuck.
    while begun.elapsed() < std::time::Duration::from_millis(1500) {
        flood(&mut session, 400).await;
        for _ in 0..150 {
            let frame = agent.next().await;
            assert_ne!(frame["type"], "system:error", "{frame}");
        }
    }
    agent.settle().await;
    assert_eq!(broker.stats().await["slow_consumers"]["closed"], 0);
}
