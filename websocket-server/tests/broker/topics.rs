//! Topics and presence.

use std::time::Instant;

use serde_json::json;

use crate::harness::TestBroker;

#[actix_rt::test]
async fn subscribers_get_what_is_published_and_the_publisher_does_not() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut one = broker.session().await;
    let mut two = broker.session().await;
    for session in [&mut one, &mut two] {
        session.send(json!({"type":"topic:subscribe","id":"s","payload":{"topic":"room"}})).await;
        let answer = session.expect("topic:subscribed").await;
        assert_eq!((&answer["payload"]["topic"], &answer["payload"]["seq"]), (&json!("room"), &json!(0)));
    }
    agent.send(json!({"type":"news:x","target":"topic:room","payload":1})).await;
    assert_eq!(one.expect("news:x").await["target"], "topic:room");
    two.expect("news:x").await;
    one.send(json!({"type":"chat:x","target":"topic:room"})).await;
    assert_eq!(two.expect("chat:x").await["source"], one.address());
    one.expect_nothing().await;
    two.send(json!({"type":"topic:unsubscribe","payload":{"topic":"topic:room"}})).await;
    two.expect("topic:unsubscribed").await;
    agent.send(json!({"type":"news:y","target":"topic:room"})).await;
    one.expect("news:y").await;
    two.expect_nothing().await;
}

#[actix_rt::test]
async fn presence_reports_members_arrivals_and_departures() {
    let broker = TestBroker::start().await;
    let mut watcher = broker.session().await;
    let mut quiet = broker.session().await;
    quiet.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    quiet.expect("topic:subscribed").await;
    watcher.send(json!({"type":"topic:subscribe","payload":{"topic":"room","presence":true}})).await;
    let subscribed = watcher.expect("topic:subscribed").await;
    assert_eq!(subscribed["payload"]["member_count"], 2);
    assert!(subscribed["payload"]["members"].as_array().expect("a list").contains(&json!(quiet.address())));
    let mut newcomer = broker.session().await;
    newcomer.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    let joined = watcher.expect("presence:join").await;
    assert_eq!(joined["payload"], json!({"topic":"room","member":newcomer.address()}));
    let address = newcomer.address();
    newcomer.close().await;
    assert_eq!(watcher.expect("presence:leave").await["payload"]["member"], address);
    quiet.expect_nothing().await;
}

#[actix_rt::test]
async fn a_member_that_comes_and_goes_without_end_is_told_at_a_pace() {
    const TOGGLES: usize = 300;
    let broker = TestBroker::start().await;
    let mut watcher = broker.session().await;
    watcher.send(json!({"type":"topic:subscribe","payload":{"topic":"room","presence":true}})).await;
    watcher.expect("topic:subscribed").await;
    let (mut restless, mut calm) = (broker.session().await, broker.session().await);
    let since = Instant::now();
    for _ in 0..TOGGLES {
        for kind in ["topic:subscribe", "topic:unsubscribe"] {
            restless.send(json!({"type":kind,"payload":{"topic":"room"}})).await;
        }
        restless.expect("topic:unsubscribed").await;
    }
    restless.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    restless.expect("topic:subscribed").await;
    // Others are told at once beside it.
    calm.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    let (mut told, mut is_here, mut calm_came) = (0, false, false);
    // Twenty at once; the one after them tells the last state.
    while told <= 20 || !calm_came || !is_here {
        let notice = watcher.next().await;
        if notice["payload"]["member"] == calm.address() {
            calm_came = true;
        } else {
            told += 1;
            is_here = notice["type"] == "presence:join";
        }
    }
    let most = 21 + since.elapsed().as_secs();
    assert!(told <= most, "{told} notices, not more than {most}");
}

#[actix_rt::test]
async fn subscriptions_and_topics_are_bounded() {
    let broker = TestBroker::with(|settings| {
        settings.limits.max_subscriptions = 2;
        settings.limits.max_topics = 3;
    })
    .await;
    let subscribe = |topic: &str| json!({"type":"topic:subscribe","payload":{"topic":topic}});
    let mut one = broker.session().await;
    for topic in ["1", "2", "2"] {
        one.send(subscribe(topic)).await;
        one.expect("topic:subscribed").await;
    }
    one.send(subscribe("3")).await;
    one.expect_error("too_many_subscriptions").await;
    let mut two = broker.session().await;
    two.send(subscribe("3")).await;
    two.expect("topic:subscribed").await;
    two.send(subscribe("4")).await;
    two.expect_error("too_many_topics").await;
    one.close().await;
    crate::harness::eventually("its topics are gone", || async { broker.stats().await["topics"] == 1 }).await;
}

/// Whether a subscription is granted; if not, there are too many.
async fn is_subscribed(peer: &mut crate::harness::Peer, topic: &str) -> bool {
    peer.send(json!({"type":"topic:subscribe","id":topic,"payload":{"topic":topic}})).await;
    loop {
        match peer.next().await {
            notice if notice["correlation_id"] != topic => {}
            answer if answer["type"] == "topic:subscribed" => return true,
            answer => {
                assert_eq!(answer["payload"]["code"], "too_many_subscriptions", "{answer}");
                return false;
            }
        }
    }
}

#[actix_rt::test]
async fn subscriptions_are_bounded_over_all_connections_of_a_session_and_of_a_user() {
    let broker = TestBroker::with(|settings| {
        settings.limits.max_session_subscriptions = 2;
        settings.limits.max_user_subscriptions = 3;
    })
    .await;
    let of_ann = |session_id| {
        let login = Some(crate::harness::login("ann"));
        common::assertion::ClientIdentity { login, ..common::assertion::ClientIdentity::anonymous(session_id) }
    };
    let (phone, desk) = (common::id::SessionId::fresh(), common::id::SessionId::fresh());
    let mut tabs = [broker.session_as(of_ann(phone)).await, broker.session_as(of_ann(phone)).await];
    assert!(is_subscribed(&mut tabs[0], "1").await && is_subscribed(&mut tabs[1], "1").await);
    assert!(!is_subscribed(&mut tabs[1], "2").await, "the session has two");
    assert!(is_subscribed(&mut tabs[1], "1").await, "one that it has");
    let mut other = broker.session_as(of_ann(desk)).await;
    assert!(is_subscribed(&mut other, "1").await);
    assert!(!is_subscribed(&mut other, "2").await, "the user has three");
    let mut bob = broker.session_of_user("bob").await;
    assert!(is_subscribed(&mut bob, "1").await && is_subscribed(&mut bob, "2").await);
    let [first, mut second] = tabs;
    first.close().await;
    let room = async { while !is_subscribed(&mut second, "2").await {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), room).await.expect("there is room again");
}

#[actix_rt::test]
async fn subscriptions_are_bounded_over_all_agents_of_a_key() {
    let broker = TestBroker::with(|settings| {
        settings.limits.max_key_subscriptions = 2;
        let key = common::secret::Secret::new("another-agent-key");
        settings.broker.agent_keys.push(common::config::AgentKey { name: "another".into(), key });
    })
    .await;
    let [mut one, mut two] = [broker.agent("one").await, broker.agent("two").await];
    assert!(is_subscribed(&mut one, "1").await && is_subscribed(&mut two, "1").await);
    assert!(!is_subscribed(&mut two, "2").await, "the key has two");
    assert!(is_subscribed(&mut two, "1").await, "one that it has");
    let mut other = broker.dial("/ws/agent?agent_id=other", Some("another-agent-key")).await.expect("upgraded");
    assert_eq!(other.next().await["type"], "connection:ack");
    other.settle().await;
    assert!(is_subscribed(&mut other, "1").await && is_subscribed(&mut other, "2").await, "another key");
    let mut session = broker.session().await;
    for topic in ["1", "2", "3"] {
        assert!(is_subscribed(&mut session, topic).await, "sessions have no key");
    }
    two.send(json!({"type":"topic:unsubscribe","payload":{"topic":"1"}})).await;
    two.expect("topic:unsubscribed").await;
    assert!(is_subscribed(&mut two, "2").await, "there is room again");
    one.close().await;
    let room = async { while !is_subscribed(&mut two, "3").await {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), room).await.expect("what left leaves room");
}
