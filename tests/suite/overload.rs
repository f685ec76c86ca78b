//! A client that stops reading, and one that does not.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{Ended, Peer, Site, eventually, request, scaled};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
/// Bytes of text in a frame.
const TEXT: usize = 8 * KIB;
/// The most frames that the publisher is ahead of the reader.
const WINDOW: usize = 16;
/// How much more memory the process may use than before: outboxes at broker and edge of half a MiB
/// each, buffers, and what the allocator keeps.
const ALLOWED: u64 = 8 * MIB;

#[tokio::test]
async fn a_stalled_client_costs_bounded_memory_is_closed_and_slows_no_other() {
    let frames = scaled(64 * KIB * KIB / TEXT, 4 * KIB * KIB * KIB / TEXT);
    let site = Site::new()
        .with("limits.outbox_bytes", "512KiB")
        .with("limits.max_frame_bytes", "64KiB")
        .with("limits.slow_consumer_timeout", "1s");
    let daemon = site.daemon().await;
    let mut agent = site.agent("publisher").await;
    let mut reader = site.session("").await;
    let credentials = site.register().await;
    let path = format!("/ws/{}", credentials.id);
    let mut stalled = Peer::dial_with_a_small_buffer(site.edge, &path, &credentials.token).await.expect("upgraded");
    stalled.expect_ack(&credentials.id).await;
    for session in [&mut reader, &mut stalled] {
        session.send(json!({"type":"topic:subscribe","payload":{"topic":"news"}})).await;
        session.expect("topic:subscribed").await;
    }
    let before = daemon.memory();

    let window = Arc::new(Semaphore::new(WINDOW));
    let publishing = tokio::spawn({
        let window = Arc::clone(&window);
        async move {
            let text = "x".repeat(TEXT);
            for number in 0..frames {
                window.acquire().await.expect("open").forget();
                agent.send(json!({"type":"news:item","target":"topic:news","payload":[number, text]})).await;
            }
            agent
        }
    });
    let reading = async {
        for number in 0..frames {
            let frame = reader.expect("news:item").await;
            assert_eq!(frame["payload"][0], number, "nothing is lost and nothing is out of order");
            window.add_permits(1);
        }
    };
    let stalling = async {
        eventually("the stalled client is judged", async || slow_consumers(&site).await > 0).await;
        assert_eq!(stalled.ended().await, Ended::Code(4008));
    };
    tokio::join!(reading, stalling);
    let _agent = publishing.await.expect("published");
    let grown = daemon.memory().peak.saturating_sub(before.now);
    println!("stalled reader: {} MiB went past it, memory grew by {} KiB", frames * TEXT / KIB / KIB, grown / 1024);
    assert!(grown < ALLOWED, "grew by {grown} bytes, from {before:?}");
}

/// How many were closed for reading too slowly, at the edge or at the broker, whichever noticed
/// first.
async fn slow_consumers(site: &Site) -> u64 {
    let edge = request(site.edge, "GET", "/stats", None).await.expect("the edge answers").json;
    let count = |value: &serde_json::Value| value.as_u64().expect("a number");
    count(&edge["browsers"]["slow_consumers"]) + count(&site.stats().await["slow_consumers"]["closed"])
}
