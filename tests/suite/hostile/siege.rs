//! Attacks, one by one and all at once, and an honest client in the middle.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::{
    attacks::Attackers,
    namespace::{self, Field},
    wire::handshake,
};
use crate::harness::{AGENT_KEY, Credentials, EchoAgent, Peer, Site, everyone, scaled};

/// The questions per second of an honest client.
const PACE: u64 = 100;
/// The part of its normal rate that it must keep, in a long run.
const KEPT: f64 = 0.9;

/// Asks at its pace for a while. Returns the number of answers in that time, and the longest wait
/// for one.
async fn honest(client: &mut Peer, time: Duration) -> (usize, Duration) {
    let (mut answered, mut longest) = (0, Duration::ZERO);
    let end = Instant::now() + time;
    let mut pace = interval(Duration::from_millis(1000 / PACE));
    // A client that was delayed catches up.
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
            // The last answer is waited for, so that none is on its way when the next window
            // begins.
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

const SESSIONS: usize = 8;

async fn register(site: &Site) -> Vec<Credentials> {
    everyone((0..SESSIONS).map(|_| {
        let site = site.clone();
        async move { site.register().await }
    }))
    .await
}

/// The work of one attacker.
type Attack = fn(&mut Attackers, Field, &Site, &[Credentials]);

/// Every attack alone. The numbers are what an address may have by default, or more.
pub const ATTACKS: [(&str, Attack); 13] = [
    ("slowloris", |attackers, field, site, _| attackers.slowloris(field.at(2), [site.edge, site.broker], 600)),
    ("connections", |attackers, field, site, _| attackers.connection_flood(field.at(3), [site.edge, site.broker], 8)),
    ("unread answers", |attackers, field, site, _| attackers.unread_answers(field.at(12), [site.edge, site.broker], 200)),
    ("guessed keys and tokens", |attackers, field, site, _| attackers.guesses(field.at(4), site)),
    ("bad frames", |attackers, field, site, sessions| attackers.bad_frames(field.at(5), site.edge, sessions[0].clone())),
    ("messages", |attackers, field, site, sessions| attackers.message_flood(field.at(6), site, sessions[1..].to_vec(), "sink")),
    ("injected headers", |attackers, field, site, _| {
        attackers.requests(field.at(7), [site.edge, site.broker], |to| {
            format!(
                "POST /api/client HTTP/1.1\r\nHost: {to}\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\nX: a\r\n b\r\n\r\n"
            )
        });
    }),
    ("climbing paths", |attackers, field, site, _| {
        attackers.requests(field.at(8), [site.edge, site.broker], |to| {
            format!("GET /assets/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: {to}\r\n\r\n")
        });
    }),
    ("sockets from other sites", |attackers, field, site, sessions| {
        let cookie = format!("Cookie: agent_bridge_session={}\r\nOrigin: https://evil.example\r\n", sessions[0].token);
        attackers.requests(field.at(9), [site.edge, site.edge], |to| handshake("/ws", to, &cookie));
        let key = format!("Authorization: Bearer {AGENT_KEY}\r\nOrigin: https://evil.example\r\n");
        attackers.requests(field.at(9), [site.broker, site.broker], |to| handshake("/ws/agent", to, &key));
    }),
    ("guessed ids", |attackers, field, site, sessions| {
        let bearer = format!("Authorization: Bearer {}\r\n", sessions[0].token);
        attackers.requests(field.at(10), [site.edge, site.broker], |to| {
            handshake("/ws/6f9619ff-8b86-4011-b42d-00c04fc964ff", to, &bearer)
        });
    }),
    ("planted sessions", |attackers, field, site, _| {
        attackers.requests(field.at(11), [site.edge, site.edge], |to| {
            handshake("/ws", to, "Cookie: agent_bridge_session=6f9619ff-8b86-4011-b42d-00c04fc964ff\r\n")
        });
    }),
    ("takeovers of one agent id", |attackers, field, site, _| attackers.takeovers(field.at(14), site, 3)),
    ("topics", |attackers, field, site, sessions| attackers.topic_flood(field.at(12), site, sessions[1..].to_vec())),
];

#[tokio::test]
async fn beside_each_attack_an_honest_client_keeps_its_rate_at_the_default_limits() {
    // By default this machine's addresses have no limits as addresses. Here the attackers' have, as
    // they would elsewhere.
    one_by_one(&Site::new().with("limits.exempt_networks", "127.0.0.1"), Field::Loopback).await;
}

#[tokio::test]
async fn beside_each_attack_from_another_network_an_honest_client_keeps_its_rate() {
    if namespace::enter("hostile::siege::beside_each_attack_from_another_network_an_honest_client_keeps_its_rate") {
        one_by_one(&Site::new(), Field::Namespace).await;
    }
}

/// Waits until what an attack has left behind is worked off, so that the next one is judged alone.
async fn until_calm(client: &mut Peer) {
    let calm = async { while honest(client, Duration::from_millis(200)).await.0 == 0 {} };
    timeout(Duration::from_secs(60), calm).await.expect("the last attack is over");
}

/// Runs each attack for a while beside an honest client with another address.
async fn one_by_one(site: &Site, field: Field) {
    let window = Duration::from_secs(scaled(1, 15));
    let _daemon = site.daemon().await;
    let _echo = EchoAgent::start(site, "echo").await;
    let honest_session = site.register().await;
    let path = format!("/ws/{}", honest_session.id);
    let mut client = Peer::dial_from(field.honest(), site.edge, &path, &honest_session.token).await.expect("upgraded");
    client.expect_ack(&honest_session.id).await;
    let sessions = register(site).await;
    let (normal, _) = honest(&mut client, window).await;
    let mut least: (f64, &str) = (f64::MAX, "");
    for (name, attack) in ATTACKS {
        until_calm(&mut client).await;
        let mut attackers = Attackers::default();
        attack(&mut attackers, field, site, &sessions);
        let counts = Arc::clone(&attackers.counts);
        let siege = attackers.begin();
        let (answered, longest) = honest(&mut client, window).await;
        drop(siege);
        let kept = answered as f64 / normal as f64;
        println!(
            "attack alone ({field:?}): {name}: {answered} of {normal} answers ({:.0}%), longest wait {longest:?}; {counts:?}",
            kept * 100.0
        );
        let met = [&counts.connections, &counts.bad_frames, &counts.refused, &counts.messages];
        assert!(met.iter().any(|count| count.load(Relaxed) > 0), "{name} was no attack: {counts:?}");
        assert!(answered > 0, "{name}: an honest client was not served at all");
        least = if kept < least.0 { (kept, name) } else { least };
    }
    println!("attacks one by one ({field:?}): the honest client kept {:.0}% at least ({})", least.0 * 100.0, least.1);
    if scaled(false, true) {
        assert!(least.0 >= KEPT, "{least:?}");
    }
}

/// The agent has as much to read as it can. So the honest client waits behind what is already on
/// its way to the agent, not behind what waits at the bridge: there senders take turns.
#[tokio::test]
async fn beside_a_flood_at_the_same_agent_an_honest_client_is_answered_in_its_turn() {
    let window = Duration::from_secs(scaled(1, 15));
    let site = Site::new().with("limits.exempt_networks", "127.0.0.1");
    let _daemon = site.daemon().await;
    let _echo = EchoAgent::start(&site, "echo").await;
    let mut client = site.session("").await;
    let sessions = register(&site).await;
    let mut attackers = Attackers::default();
    attackers.flood_at_agent(Field::Loopback.at(13), &site, sessions[1..].to_vec(), "echo");
    let counts = Arc::clone(&attackers.counts);
    let siege = attackers.begin();
    // It fails at the first question that is refused.
    let (answered, longest) = honest(&mut client, window).await;
    drop(siege);
    println!("flood at the agent that is asked: {answered} answers in {window:?}, longest wait {longest:?}; {counts:?}");
    assert!(counts.messages.load(Relaxed) > 0, "no attack: {counts:?}");
    assert!(answered > 0, "an honest client was not served at all");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

#[tokio::test]
async fn an_honest_client_is_served_while_everything_is_attacked() {
    let window = Duration::from_secs(scaled(2, 30));
    // Tighter than the default, so that every attack meets its limit in so short a time, also the
    // last one: the close with 4029.
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
    let mut client = site.session("").await;
    let sessions = register(&site).await;

    let (normal, _) = honest(&mut client, window).await;
    let before = daemon.memory();

    let mut attackers = Attackers::default();
    let listeners = [site.edge, site.broker];
    attackers.slowloris(Field::Loopback.at(2), listeners, scaled(100, 400));
    attackers.connection_flood(Field::Loopback.at(3), listeners, 8);
    attackers.guesses(Field::Loopback.at(4), &site);
    attackers.bad_frames(Field::Loopback.at(5), site.edge, sessions[0].clone());
    attackers.message_flood(Field::Loopback.at(6), &site, sessions[1..].to_vec(), "sink");
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
