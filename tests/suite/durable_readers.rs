//! Readers of durable topics in real processes: one that is stuck while much passes, and browsers
//! whose broker is killed.

use serde_json::{Value, json};

use crate::harness::{Peer, Site, eventually, scaled};

const MIB: usize = 1024 * 1024;
/// Bytes of text in a message.
const TEXT: usize = 64 * 1024;
/// The most messages that the publisher is ahead of their confirmation.
const WINDOW: usize = 32;
/// What the topic keeps.
const KEPT: usize = 16 * MIB;
/// How much more memory the process may use than before: outboxes, messages on their way to the
/// disk, the database's cache, what the allocator keeps.
const ALLOWED: u64 = 48 * MIB as u64;

#[tokio::test]
async fn a_stuck_reader_of_a_durable_topic_costs_bounded_memory_and_reads_on_when_it_wakes() {
    let messages = scaled(96 * MIB / TEXT, 1024 * MIB / TEXT);
    let site = Site::new()
        .with("limits.outbox_bytes", "1MiB")
        .with("limits.slow_consumer_timeout", "1s")
        .with("store.durability", "process")
        .with("store.topic_bytes", "16MiB");
    let daemon = site.daemon().await;
    let mut agent = site.agent("publisher").await;
    let credentials = site.register().await;
    let path = format!("/ws/{}", credentials.id);
    let mut stuck = Peer::dial_with_a_small_buffer(site.edge, &path, &credentials.token).await.expect("upgraded");
    stuck.expect_ack(&credentials.id).await;
    stuck.send(json!({"type":"topic:subscribe","payload":{"topic":"log"}})).await;
    let subscribed = stuck.expect("topic:subscribed").await;
    let mut position = json!({"epoch":subscribed["payload"]["epoch"],"seq":subscribed["payload"]["seq"]});
    let before = daemon.memory();

    let text = "x".repeat(TEXT);
    let mut confirmed = 0;
    for number in 0..messages {
        agent.send(json!({"type":"log:line","id":format!("m{number}"),"target":"topic:log","delivery":"durable","payload":[number, text]})).await;
        if number + 1 - confirmed == WINDOW {
            agent.expect("message:accepted").await;
            confirmed += 1;
        }
    }
    for _ in confirmed..messages {
        agent.expect("message:accepted").await;
    }
    let grown = daemon.memory().peak.saturating_sub(before.now);
    println!("stuck durable reader: {} MiB passed it, memory grew by {} KiB", messages * TEXT / MIB, grown / 1024);
    assert!(grown < ALLOWED, "grew by {grown} bytes, from {before:?}");

    // It reads what was on its way, is told what retention removed, and continues from there.
    let (mut next, mut read, mut is_told) = (0, 0, false);
    while next < messages as u64 {
        let frame = stuck.receive().await.expect("still connected");
        if frame["type"] == "system:lost" && frame["payload"]["channel"] == "topic:log" {
            is_told = true;
        } else if frame["type"] == "log:line" {
            let number = frame["payload"][0].as_u64().expect("a number");
            assert!(number == next || (number > next && is_told), "{number} after {next} unexplained");
            if next == 0 {
                position = json!({"epoch":frame["epoch"],"seq":frame["seq"]});
            }
            (next, read) = (number + 1, read + 1);
        }
    }
    println!("stuck durable reader: woken, it read {read}, of {} that are kept", KEPT / TEXT);
    assert!(is_told && read * TEXT > KEPT / 2, "it reads what retention kept, not {read} messages");

    // A reader that comes back with a position from before all that.
    let mut reader = site.dial_session(&credentials, "").await.expect("upgraded");
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"log","from":position}})).await;
    let answer = reader.expect("topic:subscribed").await["payload"].clone();
    assert_eq!(answer["recovered"], false, "more passed than is kept");
    let mut read = 0;
    let mut expected: Option<u64> = None;
    while expected != Some(messages as u64) {
        let message = reader.expect("log:line").await;
        let number = message["payload"][0].as_u64().expect("a number");
        assert_eq!(expected.unwrap_or(number), number, "no gap after the first that was kept");
        expected = Some(number + 1);
        read += 1;
    }
    assert!(read * TEXT > KEPT / 2, "it reads what retention kept, not {read} messages");
}

#[tokio::test]
async fn browsers_miss_nothing_of_a_durable_topic_though_their_broker_is_killed_again_and_again() {
    let rounds = scaled(3, 50);
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let mut reader = site.session("").await;
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"log"}})).await;
    reader.expect("topic:subscribed").await;
    let (mut published, mut prev, mut repeated) = (0_u64, 0_u64, 0_u64);
    for round in 0..rounds {
        let mut agent = site.agent("publisher").await;
        for _ in 0..20 {
            agent.send(json!({"type":"log:line","id":format!("m{published}"),"target":"topic:log","delivery":"durable","payload":published})).await;
            agent.expect("message:accepted").await;
            published += 1;
        }
        broker.kill();
        drop(agent);
        broker = site.broker_alone().await;
        // While the edge dials the broker, more is published: nobody is connected to get it live.
        let mut agent = site.agent("publisher").await;
        for _ in 0..20 {
            agent.send(json!({"type":"log:line","id":format!("m{published}"),"target":"topic:log","delivery":"durable","payload":published})).await;
            agent.expect("message:accepted").await;
            published += 1;
        }
        let mut next = prev;
        while next < published {
            let frame = reader.next().await;
            if frame["type"] != "log:line" {
                assert_ne!(frame["type"], "system:lost", "{frame}");
                continue;
            }
            let number = frame["payload"].as_u64().expect("a number");
            if number < next {
                assert_ne!(frame["redelivered"], Value::Null, "round {round}: {number} again, unmarked");
                repeated += 1;
            } else {
                assert_eq!(number, next, "round {round}: no gap");
                next += 1;
            }
        }
        prev = next;
        drop(agent);
        eventually("the publisher is gone", async || site.stats().await["agents"]["connected"] == 0).await;
    }
    println!("killed brokers: {rounds} rounds, {published} confirmed, 0 lost, {repeated} repeated, all marked");
}
