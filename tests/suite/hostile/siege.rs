//! All attacks at once, and an honest client in the middle.

use std::{
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::attacks::Attackers;
use crate::harness::{EchoAgent, Peer, Site, everyone, scaled};

/// What a client that means no harm asks: so many questions a second.
const PACE: u64 = 100;
/// How much of its normal rate it must have left, in a long run.
const KEPT: f64 = 0.9;

/// Asks at its pace for a while: the answers that came in that time, and the longest wait for one.
async fn honest(client: &mut Peer, time: Duration) -> (usize, Duration) {
    let (mut answered, mut longest) = (0, Duration::ZERO);
    let end = Instant::now() + time;
    let mut pace = interval(Duration::from_millis(1000 / PACE));
    // Who was held up catches up.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        pace.tick().await;
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let id = format!("q{number}");
        client.ask(&id, "agent:echo", json!(number), 30_000).await;
        loop {
            // The last answer is waited for, so that the next window begins with none on its way.
            let frame =
                timeout_at(end + Duration::from_secs(60), client.receive()).await.expect("an answer at last").expect("open");
            assert_ne!(frame["type"], "system:error", "an honest client is refused nothing: {frame}");
            if frame["correlation_id"] == id.as_str() {
                break;
            }
        }
        longest = longest.max(asked.elapsed());
        answered += usize::from(Instant::now() <= end);
    }
    (answered, longest)
}

#[tokio::test]
async fn an_honest_client_is_served_while_everything_is_attacked() {
    let window = Duration::from_secs(scaled(2, 30));
    let site = Site::new()
        // The attackers have addresses that count.
        .with("limits.exempt_networks", "127.0.0.1")
        .with("limits.max_address_handshakes", "32")
        .with("limits.max_address_connections", "64")
        .with("limits.handshake_timeout", "1s")
        .with("rates.address_connections", "50:100")
        .with("rates.session_messages", "200:400")
        .with("rates.address_messages", "400:800")
        .with("rates.patience", "1s");
    let daemon = site.daemon().await;
    let _echo = EchoAgent::start(&site, "echo").await;
    let _sink = EchoAgent::start(&site, "sink").await;
    let mut client = site.session("").await;
    let sessions = everyone((0..8).map(|_| {
        let site = site.clone();
        async move { site.register().await }
    }))
    .await;

    let (normal, _) = honest(&mut client, window).await;
    let before = daemon.memory();

    let mut attackers = Attackers::default();
    let listeners = [site.edge, site.broker];
    let at = |last| Ipv4Addr::new(127, 0, 0, last);
    attackers.slowloris(at(2), listeners, scaled(100, 400));
    attackers.connection_flood(at(3), listeners, 8);
    attackers.guesses(at(4), &site);
    attackers.bad_frames(at(5), site.edge, sessions[0].clone());
    attackers.message_flood(at(6), site.edge, sessions[1..].to_vec(), "sink");
    let counts = Arc::clone(&attackers.counts);
    let siege = attackers.begin();
    let (attacked, longest) = honest(&mut client, window).await;
    let after = daemon.memory();
    drop(siege);
    let (recovered, _) = honest(&mut client, window).await;

    let kept = attacked as f64 / normal as f64;
    println!(
        "siege: {normal} answers before, {attacked} under attack ({:.0}%), {recovered} after; longest wait {longest:?}; \
         memory {} MiB before, {} MiB at most; {counts:?}",
        kept * 100.0,
        before.now >> 20,
        after.peak >> 20,
    );
    // Every attack was real, and met its limit.
    for (what, count) in [
        ("slow bytes", &counts.slow_bytes),
        ("bad frames", &counts.bad_frames),
        ("refused guesses", &counts.refused),
        ("messages", &counts.messages),
        ("turned away", &counts.turned_away),
        ("told to slow down", &counts.told_to_slow_down),
    ] {
        assert!(count.load(Relaxed) > 0, "no {what}: {counts:?}");
    }
    assert!(attacked > 0, "an honest client was not served at all");
    assert!(after.peak < before.peak + (256 << 20), "memory grew to {} MiB", after.peak >> 20);
    if scaled(false, true) {
        assert!(counts.closed_4029.load(Relaxed) > 0, "{counts:?}");
        assert!(kept >= KEPT, "{kept}");
    }
}
