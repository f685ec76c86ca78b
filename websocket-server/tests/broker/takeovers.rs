//! Agents with one id that take over from each other.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ended, Peer, TestBroker, eventually};

/// Takeovers that need not wait.
const FREE: usize = 5;

async fn dial(broker: &TestBroker) -> Peer {
    let mut peer = broker.dial("/ws/agent?agent_id=planner", Some("Bearer test-agent-key")).await.expect("upgraded");
    peer.expect("connection:ack").await;
    peer
}

/// An agent that was taken over as often as is free.
async fn contested(broker: &TestBroker) -> Peer {
    let mut holder = broker.agent("planner").await;
    for _ in 0..FREE {
        let newer = broker.agent("planner").await;
        assert_eq!(holder.ended().await, Ended::Code(4009));
        holder = newer;
    }
    holder
}

async fn waiting(broker: &TestBroker) -> serde_json::Value {
    broker.stats().await["agents"]["takeovers"]["waiting"].clone()
}

#[actix_rt::test]
async fn two_clients_that_reconnect_at_once_slow_down_and_flood_no_other() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let begin = Instant::now();
    let mut takeovers = 0;
    let mut holder = dial(&broker).await;
    while takeovers < FREE + 2 {
        // The one that was taken over comes back at once.
        let newer = dial(&broker).await;
        assert_eq!(holder.ended().await, Ended::Code(4009));
        holder = newer;
        takeovers += 1;
    }
    // Five at once, then after one second, then after two more.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(2_900), "{took:?}");
    let stats = &broker.stats().await["agents"]["takeovers"];
    assert_eq!((&stats["made"], &stats["delayed"], &stats["waiting"]), (&json!(FREE + 2), &json!(2), &json!(0)));
    assert_eq!(stats["fighting_ids"], json!(["planner"]));
    // The last change is told too: it is the only one of that second.
    let settled = Instant::now() + Duration::from_millis(1_500);
    let mut told = 0;
    while let Ok(frame) = tokio::time::timeout_at(settled.into(), session.next()).await {
        assert!(["agent:connected", "agent:updated"].contains(&frame["type"].as_str().expect("a type")), "{frame}");
        told += 1;
    }
    // At most one notice for each change. So few are within the burst; contest_tests.rs shows the
    // pace.
    let most = takeovers + 1;
    assert!((2..=most).contains(&told), "{told} notices of {most} changes");
}

#[actix_rt::test]
async fn a_waiting_connection_is_neither_registered_nor_read() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let mut holder = contested(&broker).await;
    let mut newer = dial(&broker).await;
    newer.send(json!({"type":"agent:status","payload":{"status":"busy"}})).await;
    newer.send(json!({"type":"message:send","target":session.address(),"payload":"from the newer one"})).await;
    eventually("it waits", || async { waiting(&broker).await == 1 }).await;
    // The holder is still the agent.
    session.send(json!({"type":"message:send","target":"agent:planner","payload":"to the holder"})).await;
    assert_eq!(holder.expect("message:send").await["payload"], "to the holder");
    assert_eq!(holder.ended().await, Ended::Code(4009));
    // Now it is its turn: its messages are processed, in order.
    assert_eq!(session.expect("message:send").await["payload"], "from the newer one");
    session.send(json!({"type":"message:send","target":"agent:planner","payload":"to the newer one"})).await;
    assert_eq!(newer.expect("message:send").await["payload"], "to the newer one");
    assert_eq!(broker.stats().await["agents"]["list"][0]["status"], "busy");
}

#[actix_rt::test]
async fn of_several_waiting_connections_the_newest_stays() {
    let broker = TestBroker::start().await;
    let mut holder = contested(&broker).await;
    let mut first = dial(&broker).await;
    eventually("it waits", || async { waiting(&broker).await == 1 }).await;
    let mut second = dial(&broker).await;
    assert_eq!(first.ended().await, Ended::Code(4009));
    second.settle().await;
    assert_eq!(holder.ended().await, Ended::Code(4009));
    assert_eq!(broker.stats().await["agents"]["takeovers"]["replaced"], 1);
}

#[actix_rt::test]
async fn the_waiting_connection_takes_the_name_when_the_holder_leaves() {
    let broker = TestBroker::start().await;
    // The pause has grown to several seconds.
    let mut holder = contested(&broker).await;
    for _ in 0..2 {
        let mut newer = dial(&broker).await;
        newer.settle().await;
        holder = newer;
    }
    let mut newer = dial(&broker).await;
    eventually("it waits", || async { waiting(&broker).await == 1 }).await;
    let begin = Instant::now();
    holder.close().await;
    newer.settle().await;
    assert!(begin.elapsed() < Duration::from_millis(2_500), "{:?}", begin.elapsed());
}

#[actix_rt::test]
async fn a_connection_that_stops_waiting_affects_no_other() {
    let broker = TestBroker::start().await;
    let mut holder = contested(&broker).await;
    let newer = dial(&broker).await;
    eventually("it waits", || async { waiting(&broker).await == 1 }).await;
    newer.close().await;
    eventually("it is gone", || async { waiting(&broker).await == 0 && broker.handle.broker().connections() == 1 }).await;
    holder.settle().await;
    let entries = broker.noted(common::audit::Event::Connection).await;
    let came = entries.iter().filter(|entry| entry.what.starts_with("connected")).count();
    assert_eq!(came, FREE + 1, "who only waited did not connect");
}
