//! Everybody was away, the broker was killed meanwhile, and all come back at once: each finds
//! everything that was left for it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Credentials, Peer, Site, eventually, everyone, scaled};

/// The most unconfirmed messages.
const WINDOW: usize = 512;

fn message(session: &Credentials, number: usize) -> Value {
    let target = format!("session:{}", session.id);
    json!({"type":"job:new","id":format!("{number}-{}", session.id),"target":target,"delivery":"durable","payload":number})
}

/// Leaves `each` messages for each session, and waits until all of them are confirmed.
async fn leave(site: &Site, sessions: &[Credentials], each: usize) {
    let mut agent = site.agent("filler").await;
    let mut messages = (0..each).flat_map(|number| sessions.iter().map(move |session| message(session, number)));
    let mut unconfirmed = 0_usize;
    loop {
        while unconfirmed < WINDOW
            && let Some(message) = messages.next()
        {
            agent.send(message).await;
            unconfirmed += 1;
        }
        if unconfirmed == 0 {
            return;
        }
        agent.expect("message:accepted").await;
        unconfirmed -= 1;
    }
}

/// Comes back and takes what was left: all of it, once, in order, and nothing else.
async fn collect(site: Site, session: Credentials, each: usize) -> Peer {
    let mut peer = site.dial_session(&session, "?agent=filler").await.expect("upgraded");
    peer.expect_ack(&session.id).await;
    for number in 0..each {
        let frame = peer.expect("job:new").await;
        assert_eq!((&frame["payload"], frame.get("redelivered")), (&json!(number), None), "{frame}");
    }
    peer
}

#[tokio::test]
async fn all_clients_find_everything_after_a_restart() {
    let (count, each) = (scaled(100, 1_000), scaled(20, 100));
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(site.register().await);
    }
    let begun = Instant::now();
    leave(&site, &sessions, each).await;
    let left = begun.elapsed();
    daemon.kill();

    let begun = Instant::now();
    let daemon = site.daemon().await;
    let (started, resting) = (begun.elapsed(), daemon.memory().now);
    let begun = Instant::now();
    let peers = everyone(sessions.iter().map(|session| collect(site.clone(), session.clone(), each))).await;
    let returned = begun.elapsed();
    let peak = daemon.memory().peak;
    for mut peer in peers {
        let more = peer.settle().await;
        assert!(more.iter().all(|frame| frame["type"] != "job:new"), "{more:?}");
    }
    println!(
        "{count} sessions x {each} messages: left in {left:.1?}; killed, ready again in {started:.1?} with {} MiB; \
         all back with everything in {returned:.1?}, {} MiB at most",
        resting >> 20,
        peak >> 20
    );
}

/// Publishes a message to a topic, and waits until it is confirmed.
async fn publish(site: &Site, number: usize) {
    let mut agent = site.agent("publisher").await;
    agent
        .send(json!({"type":"job:new","id":number.to_string(),"target":"topic:room","delivery":"durable","payload":number}))
        .await;
    agent.expect("message:accepted").await;
}

async fn nobody_is_there(site: &Site) {
    eventually("nobody is there", async || site.stats().await["sessions"]["connected"] == 0).await;
}

#[tokio::test]
async fn a_page_does_nothing_but_connect_again_and_misses_nothing_of_its_topics() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let credentials = site.register().await;
    let come = async || {
        let mut page = site.dial_session(&credentials, "").await.expect("upgraded");
        page.expect_ack(&credentials.id).await;
        page
    };
    let mut page = come().await;
    page.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    page.expect("topic:subscribed").await;
    publish(&site, 0).await;
    assert_eq!(page.expect("job:new").await["payload"], 0);
    // Its pong has arrived.
    page.settle().await;

    // The connection breaks, without a close frame.
    drop(page);
    nobody_is_there(&site).await;
    publish(&site, 1).await;
    let mut page = come().await;
    while page.expect("job:new").await["payload"] != 1 {}
    page.settle().await;

    // Everything is killed.
    daemon.kill();
    drop(page);
    let mut daemon = site.daemon().await;
    publish(&site, 2).await;
    let mut page = come().await;
    while page.expect("job:new").await["payload"] != 2 {}
    publish(&site, 3).await;
    assert_eq!(page.expect("job:new").await["payload"], 3, "it is live again");
    page.settle().await;

    // Everything is stopped properly; pages are told to come back.
    daemon.terminate();
    page.ended().await;
    assert_eq!(daemon.exit_code().await, 0);
    let _daemon = site.daemon().await;
    publish(&site, 4).await;
    let mut page = come().await;
    while page.expect("job:new").await["payload"] != 4 {}

    // The page is closed: opening it again starts again.
    page.close().await;
    nobody_is_there(&site).await;
    publish(&site, 5).await;
    let mut page = come().await;
    let came = page.settle().await;
    assert!(came.iter().all(|frame| frame["type"] != "job:new"), "{came:?}");
}
