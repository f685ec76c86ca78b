//! Everybody was away, the broker was killed meanwhile, and all come back at once: each finds everything that was left for it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Credentials, Peer, Site, everyone, scaled};

/// Messages that are not confirmed yet, at most.
const WINDOW: usize = 512;

fn message(session: &Credentials, number: usize) -> Value {
    let target = format!("session:{}", session.id);
    json!({"type":"job:new","id":format!("{number}-{}", session.id),"target":target,"delivery":"durable","payload":number})
}

/// Leaves `each` messages for each session, and sees all of them confirmed.
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
async fn all_who_come_back_after_a_restart_find_everything() {
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
