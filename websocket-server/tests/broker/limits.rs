//! The limits of one session, user, address or key.

use std::time::Duration;

use common::{
    assertion::ClientIdentity,
    config::{AgentKey, Settings},
    id::SessionId,
    rate::Rate,
    secret::Secret,
};
use serde_json::json;

use crate::harness::{Ended, Peer, TestBroker, eventually, login};

/// No address is exempt: those of the test count too.
fn counted(settings: &mut Settings) {
    settings.limits.exempt_networks.clear();
}

fn identity(user: Option<&str>, ip: &str) -> ClientIdentity {
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.login = user.map(login);
    identity.ip = Some(ip.to_owned());
    identity
}

async fn flood(peer: &mut Peer, count: usize) {
    for number in 0..count {
        peer.send(json!({"type":"message:send","id":number.to_string(),"target":"agent:a","payload":number})).await;
    }
}

#[actix_rt::test]
async fn a_session_over_its_rate_is_told_and_slowed_and_loses_nothing() {
    let broker = TestBroker::with(|settings| settings.rates.session_messages = Rate::new(400, 20)).await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    flood(&mut session, 200).await;
    for number in 0..200 {
        assert_eq!(agent.expect("message:send").await["payload"], number);
    }
    let told = session.expect_error("rate_limited").await;
    assert!(told["payload"]["retry_after_ms"].as_u64() >= Some(1), "{told}");
    assert_eq!(told["payload"]["temporary"], true);
}

#[actix_rt::test]
async fn a_session_that_keeps_exceeding_its_rate_is_closed_and_others_are_not() {
    let broker = TestBroker::with(|settings| {
        settings.rates.session_messages = Rate::new(100, 10);
        settings.rates.patience = Duration::from_millis(400);
    })
    .await;
    let mut calm = broker.session().await;
    let mut session = broker.session().await;
    flood(&mut session, 500).await;
    assert_eq!(session.ended().await, Ended::Code(4029));
    calm.expect_nothing().await;
    eventually("it is counted", async || broker.stats().await["connections"]["closed_by_code"]["4029"] == 1).await;
}

#[actix_rt::test]
async fn pings_and_rubbish_count_and_bytes_do() {
    let broker = TestBroker::with(|settings| {
        settings.rates.session_bytes = Rate::new(10_000, 20_000);
        settings.rates.patience = Duration::from_millis(300);
    })
    .await;
    let mut session = broker.session().await;
    for _ in 0..20 {
        session.send_text(&"x".repeat(1000)).await;
        session.send(json!({"type":"connection:ping","payload":"x".repeat(1000)})).await;
    }
    assert_eq!(session.ended().await, Ended::Code(4029));
}

#[actix_rt::test]
async fn two_tabs_share_a_session_and_two_sessions_a_user() {
    let broker = TestBroker::with(|settings| {
        settings.rates.user_messages = Rate::new(50, 50);
        settings.limits.max_user_connections = 2;
    })
    .await;
    let mut agent = broker.agent("a").await;
    let mut one = broker.session_as(identity(Some("ann"), "192.0.2.1")).await;
    let mut other = broker.session_as(identity(Some("ann"), "192.0.2.2")).await;
    assert_eq!(broker.dial_session(&identity(Some("ann"), "192.0.2.3")).await.err(), Some(429));
    let mut ben = broker.session_as(identity(Some("ben"), "192.0.2.3")).await;
    flood(&mut one, 40).await;
    flood(&mut other, 40).await;
    for _ in 0..80 {
        agent.expect("message:send").await;
    }
    // Which of the two was over depends on the order of arrival.
    one.send(json!({"type":"agent:list","id":"end"})).await;
    other.send(json!({"type":"agent:list","id":"end"})).await;
    let mut told = 0;
    for peer in [&mut one, &mut other] {
        loop {
            let frame = peer.next().await;
            told += usize::from(frame["payload"]["code"] == "rate_limited");
            if frame["type"] == "agent:listed" && frame["correlation_id"] == "end" {
                break;
            }
        }
    }
    assert!(told > 0);
    ben.expect_nothing().await;
}

#[actix_rt::test]
async fn sockets_of_an_address_and_of_a_key_are_bounded() {
    let broker = TestBroker::with(|settings| {
        counted(settings);
        settings.limits.max_address_connections = 2;
        settings.limits.max_key_connections = 3;
        settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")];
        settings.broker.operator_token = Secret::new("an-operator-token");
    })
    .await;
    let key = "Bearer test-agent-key";
    let from = |address: &'static str| ("x-forwarded-for", address);
    let _one = broker.dial_with("/ws/agent", key, &[from("192.0.2.1")]).await.expect("the first");
    let _two = broker.dial_with("/ws/agent", key, &[from("192.0.2.1")]).await.expect("the second");
    assert_eq!(broker.dial_with("/ws/agent", key, &[from("192.0.2.1")]).await.err(), Some(429), "the address has two");
    let _three = broker.dial_with("/ws/agent", key, &[from("192.0.2.2")]).await.expect("another address");
    assert_eq!(broker.dial_with("/ws/agent", key, &[from("192.0.2.3")]).await.err(), Some(429), "the key has three");
    let _session = broker.session_as(identity(None, "192.0.2.1")).await;
    let _another = broker.session_as(identity(None, "192.0.2.1")).await;
    assert_eq!(broker.dial_session(&identity(None, "192.0.2.1")).await.err(), Some(429));
    assert_eq!(broker.stats().await["errors"]["too_many_connections"], 3);
}

#[actix_rt::test]
async fn a_key_with_a_rate_slows_all_its_agents_and_by_default_none() {
    let broker = TestBroker::with(|settings| settings.rates.key_messages = Rate::new(200, 10)).await;
    let mut receiver = broker.agent("a").await;
    let mut sender = broker.agent("b").await;
    flood(&mut sender, 50).await;
    sender.expect_error("rate_limited").await;
    for _ in 0..50 {
        receiver.expect("message:send").await;
    }
    let broker = TestBroker::start().await;
    let mut receiver = broker.agent("a").await;
    let mut sender = broker.agent("b").await;
    flood(&mut sender, 5000).await;
    for _ in 0..5000 {
        receiver.expect("message:send").await;
    }
    sender.expect_nothing().await;
}

#[actix_rt::test]
async fn wrong_keys_make_their_address_wait_and_others_not() {
    let long = "a-key-that-is-too-long-for-anybody-to-guess";
    let broker = TestBroker::with(|settings| {
        counted(settings);
        settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")];
        settings.broker.operator_token = Secret::new("an-operator-token");
        settings.broker.agent_keys.push(AgentKey { name: "long".into(), key: Secret::new(long) });
    })
    .await;
    let dial = async |key: &str, address: &str| broker.dial_with("/ws/agent", key, &[("x-forwarded-for", address)]).await;
    for _ in 0..6 {
        assert_eq!(dial("wrong", "192.0.2.1").await.err(), Some(401));
    }
    assert_eq!(dial("wrong", "192.0.2.1").await.err(), Some(429));
    assert_eq!(dial("test-agent-key", "192.0.2.1").await.err(), Some(429), "a guess that is right is not told");
    assert!(dial(long, "192.0.2.1").await.is_ok(), "a neighbour with a key nobody guesses");
    assert!(dial("test-agent-key", "192.0.2.2").await.is_ok());
    let stats = broker.stats().await;
    assert_eq!((&stats["errors"]["unauthorized"], &stats["errors"]["too_many_failures"]), (&json!(6), &json!(2)));
}

#[actix_rt::test]
async fn the_address_is_the_connections_unless_a_trusted_proxy_says_otherwise() {
    let broker = TestBroker::with(|settings| {
        counted(settings);
        settings.limits.max_address_connections = 1;
    })
    .await;
    let key = "Bearer test-agent-key";
    let _one = broker.dial_with("/ws/agent", key, &[("x-forwarded-for", "192.0.2.1")]).await.expect("the first");
    let second = broker.dial_with("/ws/agent", key, &[("x-forwarded-for", "192.0.2.2")]).await;
    assert_eq!(second.err(), Some(429), "who is no proxy cannot make up addresses");
}
