//! Readers that take their time with a backlog: they stay connected, what they have read is
//! confirmed in steps, and each message comes once. The heartbeat is faster than usual by as much
//! as the backlog is smaller; with `BRIDGE_SOAK=1` both are as usual.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};

use crate::harness::{AGENT_KEY, Peer, Site, eventually, in_time, scaled};

/// A reader's backlog, and how it reads.
struct Backlog {
    messages: usize,
    bytes: usize,
    /// The time that it works on each message.
    work: Duration,
}

/// 25 frames of 10 kB in a second.
fn worker() -> Backlog {
    Backlog { messages: scaled(120, 1500), bytes: 10_000, work: Duration::from_millis(40) }
}

/// A site whose heartbeat has this timeout, or the usual one in the long run.
fn site(timeout: &str) -> Site {
    let site = Site::new().with("store.durability", "process");
    if scaled(0, 1) == 1 { site } else { site.with("heartbeat.interval", "300ms").with("heartbeat.timeout", timeout) }
}

async fn leave(site: &Site, target: &str, backlog: &Backlog) {
    let mut sender = site.agent("sender").await;
    let text = "x".repeat(backlog.bytes);
    for number in 0..backlog.messages {
        let message =
            json!({"type":"job:new","id":format!("m{number}"),"target":target,"delivery":"durable","payload":[number, text]});
        sender.send(message).await;
        sender.expect("message:accepted").await;
    }
}

/// Reads the whole backlog at its pace, on one connection. Each message comes once, in order,
/// without a mark.
async fn read(reader: &mut Peer, backlog: &Backlog) {
    let mut pace = interval(backlog.work);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = 0;
    while next < backlog.messages {
        pace.tick().await;
        let frame = reader.expect("job:new").await;
        assert_eq!((&frame["payload"][0], &frame["redelivered"]), (&json!(next), &Value::Null));
        next += 1;
    }
}

#[tokio::test]
async fn an_agent_that_works_on_each_message_gets_its_whole_backlog_on_one_connection() {
    let site = site("1s");
    let _daemon = site.daemon().await;
    let backlog = worker();
    leave(&site, "agent:worker", &backlog).await;
    let mut reader = site.dial_agent("worker").await.expect("upgraded");
    read(&mut reader, &backlog).await;
    // At most the last few come again, whose ping was not answered yet, and they are marked.
    reader.close().await;
    let mut again = site.dial_agent("worker").await.expect("upgraded");
    for frame in again.settle().await.iter().filter(|frame| frame["type"] == "job:new") {
        assert_eq!(frame["redelivered"], 1);
        assert!(frame["payload"][0].as_u64() >= Some(backlog.messages as u64 - 15), "{}", frame["payload"][0]);
    }
}

#[tokio::test]
async fn messages_read_by_a_slow_worker_are_confirmed_in_steps() {
    let site = site("1s");
    let _daemon = site.daemon().await;
    let backlog = worker();
    leave(&site, "agent:worker", &backlog).await;
    let mut first = site.dial_agent("worker").await.expect("upgraded");
    let mut last = 0;
    while last < backlog.messages / 2 {
        let frame = first.expect("job:new").await;
        last = frame["payload"][0].as_u64().expect("a number") as usize + 1;
        tokio::time::sleep(backlog.work).await;
    }
    // It dies in the middle: most of what it had read does not come again.
    drop(first);
    let mut second = site.dial_agent("worker").await.expect("upgraded");
    let frame = second.expect("job:new").await;
    let begins = frame["payload"][0].as_u64().expect("a number") as usize;
    assert!(begins > 0 && begins <= last, "read {last}, and the next connection begins with {begins}");
}

#[tokio::test]
async fn a_session_behind_an_edge_that_reads_slowly_gets_its_whole_backlog_on_one_connection() {
    let site = site("1s");
    let _broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let backlog = worker();
    let credentials = site.register().await;
    leave(&site, &format!("session:{}", credentials.id), &backlog).await;
    let mut reader = site.dial_session(&credentials, "").await.expect("upgraded");
    read(&mut reader, &backlog).await;
}

#[tokio::test]
async fn a_reader_of_a_topic_at_125_kilobytes_a_second_gets_the_whole_log() {
    let site = site("1s");
    let _broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let backlog = Backlog { messages: scaled(60, 1500), work: Duration::from_millis(80), ..worker() };
    leave(&site, "topic:log", &backlog).await;
    let mut reader = site.session("").await;
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"log","from":{"seq":0}}})).await;
    reader.expect("topic:subscribed").await;
    read(&mut reader, &backlog).await;
}

#[tokio::test]
async fn a_reader_of_a_few_kilobytes_a_second_stays() {
    let site = site("3s");
    let _daemon = site.daemon().await;
    // A kilobyte a second, for the usual timeout of 30 s; ten for 3 s.
    let backlog = Backlog { messages: scaled(60, 120), bytes: 1000, work: Duration::from_millis(scaled(100, 1000) as u64) };
    leave(&site, "agent:worker", &backlog).await;
    let mut reader = site.dial_agent("worker").await.expect("upgraded");
    read(&mut reader, &backlog).await;
}

#[tokio::test]
async fn a_proxy_that_swallows_everything_for_a_dead_reader_does_not_keep_it() {
    let site = site("500ms");
    let _daemon = site.daemon().await;
    let backlog = Backlog { messages: 100, ..worker() };
    leave(&site, "agent:dead", &backlog).await;
    // It takes whatever comes, and nobody answers.
    let mut proxy = TcpStream::connect(site.broker).await.expect("connects");
    let request = format!(
        "GET /ws/agent?agent_id=dead HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        AGENT_KEY
    );
    proxy.write_all(request.as_bytes()).await.expect("writes");
    let swallowed = in_time("it is given up", async {
        let (mut swallowed, mut buffer) = (0, vec![0; 65536]);
        while let Ok(bytes @ 1..) = proxy.read(&mut buffer).await {
            swallowed += bytes;
        }
        swallowed
    })
    .await;
    assert!(swallowed < 400_000, "{swallowed} bytes were on their way, of a million");
    eventually("it is gone", async || site.stats().await["agents"]["connected"] == 0).await;
    // Nothing counts as read.
    let mut living = site.dial_agent("dead").await.expect("upgraded");
    assert_eq!(living.expect("job:new").await["payload"][0], 0);
}
