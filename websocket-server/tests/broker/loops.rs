//! Programs that answer each other.

use std::time::Instant;

use common::rate::Rate;
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker};

const AT_ONCE: u64 = 50;

async fn broker() -> TestBroker {
    TestBroker::with(|settings| settings.rates.answers = Rate::new(1, AT_ONCE)).await
}

/// Answers a frame, to its sender or to its topic.
async fn answer(peer: &mut Peer, frame: &Value, target: &Value, copies: usize) {
    for _ in 0..copies {
        peer.send(json!({"type":"message:send","target":target,"correlation_id":frame["id"],"payload":"thank you"})).await;
    }
}

/// Lets both answer what they get until one is stopped. Returns how many answers were sent until
/// then.
async fn run(one: &mut Peer, other: &mut Peer, target: Option<&str>, copies: usize) -> u64 {
    let mut sent = 0;
    loop {
        let (peer, frame) = tokio::select! {
            frame = one.next() => (&mut *one, frame),
            frame = other.next() => (&mut *other, frame),
        };
        if frame["type"] == "message:send" {
            let target = target.map_or_else(|| frame["source"].clone(), Value::from);
            answer(peer, &frame, &target, copies).await;
            sent += copies as u64;
        }
        if frame["type"] == "system:error" {
            assert_eq!(frame["payload"]["code"], "loop_stopped", "{frame}");
            assert!(frame["payload"]["retry_after_ms"].as_u64() >= Some(1), "{frame}");
            return sent;
        }
    }
}

#[actix_rt::test]
async fn two_agents_that_answer_each_other_are_stopped() {
    let broker = broker().await;
    let (mut one, mut other) = (broker.agent("one").await, broker.agent("other").await);
    let started = Instant::now();
    one.send(json!({"type":"message:send","id":"hello","target":"agent:other","payload":"hello"})).await;
    let sent = run(&mut one, &mut other, None, 1).await;
    let allowed = AT_ONCE + started.elapsed().as_secs() + 2;
    assert!((AT_ONCE..=allowed).contains(&sent), "{sent}");
    one.expect_nothing().await;
    other.expect_nothing().await;
    // They may still talk.
    one.send(json!({"type":"message:send","id":"again","target":"agent:other","payload":"hello"})).await;
    let again = other.expect("message:send").await;
    answer(&mut other, &again, &again["source"], 1).await;
    assert_eq!(one.expect("message:send").await["correlation_id"], "again");
}

#[actix_rt::test]
async fn a_session_and_an_agent_that_answer_each_other_are_stopped() {
    let broker = broker().await;
    let (mut agent, mut session) = (broker.agent("a").await, broker.session().await);
    session.send(json!({"type":"message:send","target":"agent:a","payload":"hello"})).await;
    assert!(run(&mut agent, &mut session, None, 1).await >= AT_ONCE);
    session.expect_nothing().await;
}

#[actix_rt::test]
async fn an_agent_that_answers_twice_is_stopped_before_the_chain_grows() {
    let broker = broker().await;
    let (mut one, mut other) = (broker.agent("one").await, broker.agent("other").await);
    one.send(json!({"type":"message:send","id":"hello","target":"agent:other","payload":"hello"})).await;
    let started = Instant::now();
    let sent = run(&mut one, &mut other, None, 2).await;
    // The question and its two answers are free, and each answer that is let through is answered
    // twice. If two messages share one of the table's 65,536 entries, one more is let through.
    let let_through = AT_ONCE + started.elapsed().as_secs() + 1;
    let shared_entries = 4;
    assert!(sent <= 2 * (3 + 2 * (let_through + shared_entries)), "{sent}");
}

#[actix_rt::test]
async fn two_agents_that_answer_in_a_topic_are_stopped() {
    let broker = broker().await;
    let (mut one, mut other) = (broker.agent("one").await, broker.session().await);
    for peer in [&mut one, &mut other] {
        peer.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
        peer.expect("topic:subscribed").await;
    }
    one.send(json!({"type":"message:send","target":"topic:room","payload":"hello"})).await;
    assert!(run(&mut one, &mut other, Some("topic:room"), 1).await >= AT_ONCE);
    other.expect_nothing().await;
}

#[actix_rt::test]
async fn questions_and_streamed_answers_are_never_taken_for_a_loop() {
    let broker = broker().await;
    let (mut agent, mut session) = (broker.agent("a").await, broker.session().await);
    for round in 0..100 {
        session.send(json!({"type":"message:send","id":round.to_string(),"target":"agent:a","payload":"?"})).await;
        let question = agent.expect("message:send").await;
        answer(&mut agent, &question, &question["source"], 3).await;
        for _ in 0..3 {
            assert_eq!(session.expect("message:send").await["correlation_id"], round.to_string());
        }
    }
}

#[actix_rt::test]
async fn durable_answers_count_too() {
    let broker = broker().await;
    let (mut one, mut other) = (broker.agent("one").await, broker.agent("other").await);
    let mut asked = "hello".to_owned();
    one.send(json!({"type":"message:send","id":asked,"target":"agent:other","payload":1})).await;
    other.expect("message:send").await;
    for number in 0..2 * AT_ONCE {
        let (from, to, name) =
            if number.is_multiple_of(2) { (&mut other, &mut one, "agent:one") } else { (&mut one, &mut other, "agent:other") };
        let id = number.to_string();
        from.send(json!({"type":"message:send","id":id,"correlation_id":asked,"target":name,"delivery":"durable","payload":1}))
            .await;
        asked = id;
        let answer = loop {
            let frame = from.next().await;
            if ["message:accepted", "system:error"].iter().any(|kind| frame["type"] == *kind) {
                break frame;
            }
        };
        if answer["type"] == "system:error" {
            assert_eq!(answer["payload"]["code"], "loop_stopped");
            assert!(number >= AT_ONCE, "{number}");
            return;
        }
        to.expect("message:send").await;
    }
    panic!("never stopped");
}
