//! No stranger takes what belongs to all: each shared table, beside an honest session of another
//! address and an agent.

use common::{assertion::ClientIdentity, config::Settings, id::SessionId};
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker, eventually, login};

/// All addresses count, also those of this machine.
fn counted(settings: &mut Settings) {
    settings.limits.exempt_networks.clear();
    settings.limits.max_topics = 200;
}

fn identity(ip: &str) -> ClientIdentity {
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.ip = Some(ip.to_owned());
    identity
}

fn user_at(user: &str, ip: &str) -> ClientIdentity {
    ClientIdentity { login: Some(login(user)), ..identity(ip) }
}

/// Asks for so many topics. Returns how many it got, and the error of the first that it did not.
async fn subscribe(peer: &mut Peer, prefix: &str, count: usize) -> (usize, Value) {
    for number in 0..count {
        let topic = format!("{prefix}/{number}");
        peer.send(json!({"type":"topic:subscribe","id":topic,"payload":{"topic":topic}})).await;
    }
    let (mut had, mut refused) = (0, Value::Null);
    for _ in 0..count {
        let frame = loop {
            let frame = peer.next().await;
            if frame["type"] == "topic:subscribed" || frame["type"] == "system:error" {
                break frame;
            }
        };
        if frame["type"] == "topic:subscribed" {
            had += 1;
        } else if refused.is_null() {
            refused = frame["payload"].clone();
        }
    }
    (had, refused)
}

async fn shares(broker: &TestBroker, table: &str) -> Value {
    broker.stats().await["shares"][table].clone()
}

#[actix_rt::test]
async fn a_stranger_has_its_share_of_the_topics_and_others_have_theirs() {
    let broker = TestBroker::with(counted).await;
    // 200 topics: 16 of a session (the least share), 20 of an address, 180 of all sessions.
    let mut strangers = Vec::new();
    for _ in 0..2 {
        strangers.push(broker.session_as(identity("192.0.2.1")).await);
    }
    let (had, refused) = subscribe(&mut strangers[0], "flood/0", 30).await;
    assert_eq!((had, refused["code"].as_str()), (16, Some("share_exceeded")), "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("this session") && text.contains("16")), "{refused}");
    assert_eq!(refused["target"], "topic:flood/0/16");
    let (had, refused) = subscribe(&mut strangers[1], "flood/1", 30).await;
    assert_eq!((had, refused["code"].as_str()), (4, Some("share_exceeded")), "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("this address")), "{refused}");
    let table = shares(&broker, "topics").await;
    assert_eq!((&table["held"], &table["held_by_sessions"], &table["most"]), (&json!(20), &json!(20), &json!(200)), "{table}");
    assert_eq!(table["refused"], json!(14 + 26), "{table}");
    assert_eq!(table["largest"]["holder"], "address:192.0.2.1", "{table}");

    // Many addresses together leave the reserve to agents.
    for host in 2..12 {
        let mut stranger = broker.session_as(identity(&format!("192.0.2.{host}"))).await;
        let (_, refused) = subscribe(&mut stranger, &format!("flood/of/{host}"), 20).await;
        strangers.push(stranger);
        if refused["code"] == "too_many_topics" {
            assert!(refused["message"].as_str().is_some_and(|text| text.contains("all sessions together")), "{refused}");
            break;
        }
    }
    assert_eq!(shares(&broker, "topics").await["held_by_sessions"], 180);
    let mut agent = broker.agent("a").await;
    assert_eq!(subscribe(&mut agent, "own", 20).await.0, 20);
    // What exists already costs a stranger's neighbours nothing.
    let mut honest = broker.session_as(identity("198.51.100.1")).await;
    assert_eq!(subscribe(&mut honest, "own", 10).await.0, 10);

    // A holder that leaves gives its share back.
    drop(strangers);
    eventually("the topics are free", async || shares(&broker, "topics").await["held_by_sessions"] == 0).await;
    assert_eq!(subscribe(&mut honest, "again", 10).await.0, 10);
}

#[actix_rt::test]
async fn a_topic_is_charged_to_one_of_its_present_subscribers() {
    let broker = TestBroker::with(counted).await;
    let (mut first, mut second) =
        (broker.session_as(identity("192.0.2.1")).await, broker.session_as(identity("192.0.2.2")).await);
    subscribe(&mut first, "room", 5).await;
    assert_eq!(subscribe(&mut second, "room", 5).await.0, 5);
    assert_eq!(shares(&broker, "topics").await["held"], 5);
    let heirs = ["address:192.0.2.2".to_owned(), second.address()];
    first.close().await;
    eventually("it counts for the other", async || {
        let largest = shares(&broker, "topics").await["largest"]["holder"].clone();
        largest.as_str().is_some_and(|largest| heirs.iter().any(|heir| heir == largest))
    })
    .await;
    assert_eq!(shares(&broker, "topics").await["held"], 5);
    second.close().await;
    eventually("it is gone", async || shares(&broker, "topics").await["held"] == 0).await;
    assert_eq!(shares(&broker, "subscriptions").await["held"], 0);
}

#[actix_rt::test]
async fn subscriptions_have_shares_of_session_user_and_key() {
    let broker = TestBroker::with(|settings| {
        counted(settings);
        settings.limits.session_share = 1.0;
        settings.limits.user_share = 1.0;
        settings.limits.max_session_subscriptions = 6;
        settings.limits.max_user_subscriptions = 8;
        settings.limits.max_key_subscriptions = 5;
    })
    .await;
    let one = user_at("ann", "192.0.2.1");
    let (mut tab, mut other_tab) = (broker.session_as(one.clone()).await, broker.session_as(one).await);
    assert_eq!(subscribe(&mut tab, "a", 4).await.0, 4);
    let (had, refused) = subscribe(&mut other_tab, "b", 4).await;
    assert_eq!((had, refused["code"].as_str()), (2, Some("too_many_subscriptions")));
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("this session")), "{refused}");
    let mut elsewhere = broker.session_as(user_at("ann", "192.0.2.2")).await;
    let (had, refused) = subscribe(&mut elsewhere, "c", 4).await;
    assert_eq!(had, 2);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("this user")), "{refused}");
    let (mut agent, mut twin) = (broker.agent("a").await, broker.agent("b").await);
    assert_eq!(subscribe(&mut agent, "d", 3).await.0, 3);
    let (had, refused) = subscribe(&mut twin, "d", 4).await;
    assert_eq!(had, 2);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("this agent key")), "{refused}");
    let mut honest = broker.session_as(identity("198.51.100.1")).await;
    assert_eq!(subscribe(&mut honest, "e", 4).await.0, 4);
}

#[actix_rt::test]
async fn open_requests_have_a_share_of_an_address() {
    let broker = TestBroker::with(|settings| {
        counted(settings);
        // Of a million.
        settings.limits.address_share = 0.000_02;
    })
    .await;
    let mut agent = broker.agent("a").await;
    let ask = |number: usize| json!({"type":"q:ask","id":format!("q{number}"),"target":"agent:a","timeout_ms":60_000});
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stranger = broker.session_as(identity("192.0.2.1")).await;
        for number in 0..6 {
            stranger.send(ask(number)).await;
        }
        if strangers.len() < 3 {
            stranger.settle().await;
        }
        strangers.push(stranger);
    }
    for number in 0..20 {
        assert_eq!(agent.expect("q:ask").await["type"], "q:ask", "{number}");
    }
    let refused = strangers[3].expect_error("too_many_requests").await;
    assert!(refused["payload"]["message"].as_str().is_some_and(|text| text.contains("this address")), "{refused}");
    assert_eq!(refused["payload"]["target"], "agent:a");
    let mut honest = broker.session_as(identity("198.51.100.1")).await;
    honest.send(ask(99)).await;
    let asked = agent.expect("q:ask").await;
    agent.send(json!({"type":"q:answer","target":asked["source"],"correlation_id":"q99"})).await;
    assert_eq!(honest.expect("q:answer").await["correlation_id"], "q99");
    let table = shares(&broker, "open_requests").await;
    assert_eq!((&table["refused"], &table["held"], &table["most"]), (&json!(4), &json!(null), &json!(null)), "{table}");
    assert_eq!(table["largest"]["held"], 20, "{table}");
    drop(strangers);
    eventually("their requests are gone", async || shares(&broker, "open_requests").await["largest"].is_null()).await;
}

#[actix_rt::test]
async fn sessions_leave_connections_to_agents() {
    let broker = TestBroker::with(|settings| {
        settings.limits.max_connections = 20;
        settings.limits.agents_reserve = 0.1;
    })
    .await;
    let mut sessions = Vec::new();
    for _ in 0..18 {
        sessions.push(broker.session().await);
    }
    let one_more = ClientIdentity::anonymous(SessionId::fresh());
    assert_eq!(broker.dial_session(&one_more).await.err(), Some(503));
    let (_one, _two) = (broker.agent("a").await, broker.agent("b").await);
    assert_eq!(broker.dial("/ws/agent?agent_id=c", Some("Bearer test-agent-key")).await.err(), Some(503));
    sessions.pop().expect("one").close().await;
    eventually("there is room", async || broker.dial_session(&one_more).await.is_ok()).await;
}
