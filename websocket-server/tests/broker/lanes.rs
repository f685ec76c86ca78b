//! What a reader that is behind gets, by priority and `overflow`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker, eventually};

async fn broker() -> TestBroker {
    TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 64 * 1024;
        settings.limits.flow_control_burst = Duration::ZERO;
    })
    .await
}

fn count(stats: &Value, pointer: &str) -> u64 {
    stats.pointer(pointer).and_then(Value::as_u64).expect("a count")
}

/// Publishes copies of `frame` to a topic of the session, which does not read, until the kernel
/// takes no more and its outbox is full. Returns how many.
async fn fill(broker: &TestBroker, agent: &mut Peer, session: &mut Peer, mut frame: Value) -> u64 {
    session.send(json!({"type":"topic:subscribe","payload":{"topic":"fill"}})).await;
    session.expect("topic:subscribed").await;
    frame["target"] = json!("topic:fill");
    frame["payload"] = json!("x".repeat(4000));
    let (mut sent, mut written) = (0, 0);
    let mut still = Instant::now();
    // The kernel finds more room when it first probes a closed window.
    while still.elapsed() < Duration::from_millis(700) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(sent < 100_000, "the kernel takes everything");
        for _ in 0..40 {
            agent.send(frame.clone()).await;
        }
        sent += 40;
        agent.settle().await;
        let stats = broker.stats().await;
        let before = std::mem::replace(&mut written, count(&stats, "/sockets/bytes_out"));
        // The agent's answers were written too, but they are small.
        let is_full = count(&stats, "/queues/outboxes/fullest_bytes") > broker.settings.limits.outbox_bytes as u64 / 4 * 3;
        if !is_full || written - before >= 4000 {
            still = Instant::now();
        }
    }
    sent
}

/// Everything that the session has to read, up to the frame of type `end`.
async fn read_through(session: &mut Peer, end: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    while frames.last().is_none_or(|last: &Value| last["type"] != end) {
        frames.push(session.next().await);
    }
    frames
}

fn of_type<'a>(frames: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    frames.iter().filter(move |frame| frame["type"] == kind)
}

#[actix_rt::test]
async fn a_reader_that_was_stuck_gets_what_matters_first_and_all_that_is_durable() {
    let broker = broker().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    let to = session.address();
    let low = fill(&broker, &mut agent, &mut session, json!({"type":"low:x","priority":"low"})).await;
    for n in 0..100 {
        agent.send(json!({"type":"state:now","target":to,"overflow":"latest","conflation_key":"k","payload":n})).await;
    }
    // More than fits beside it: the rest waits in the log.
    for n in 0..20 {
        agent.send(json!({"type":"job:x","target":to,"delivery":"durable","payload":[n, "y".repeat(5000)]})).await;
    }
    agent.send(json!({"type":"alert:x","target":to,"priority":"high","payload":0})).await;
    for _ in 0..20 {
        agent.expect("message:accepted").await;
    }
    agent.settle().await;

    let mut frames = Vec::new();
    let (mut jobs, mut lost, mut seen) = (0, 0, 0);
    while jobs < 20 || lost + seen < low {
        let frame = session.next().await;
        match frame["type"].as_str() {
            Some("job:x") => jobs += 1,
            Some("low:x") => seen += 1,
            Some("system:lost") => lost += frame["payload"]["count"].as_u64().expect("a count"),
            _ => {}
        }
        frames.push(frame);
    }
    let place = |kind: &str| frames.iter().position(|frame| frame["type"] == kind).expect("came");
    assert!(place("alert:x") < place("state:now") && place("state:now") < place("job:x"));
    let states: Vec<_> = of_type(&frames, "state:now").map(|frame| frame["payload"].as_u64()).collect();
    assert_eq!(states, [Some(99)]);
    let jobs: Vec<_> = of_type(&frames, "job:x").map(|frame| frame["payload"][0].as_u64().expect("a number")).collect();
    assert_eq!(jobs, (0..20).collect::<Vec<_>>());
    assert_eq!(lost + seen, low);
    let stats = broker.stats().await;
    assert_eq!(count(&stats, "/slow_consumers/conflated_messages"), 99);
    assert_eq!(count(&stats, "/slow_consumers/dropped_messages"), lost);
}

#[actix_rt::test]
async fn streams_with_another_key_type_or_sender_keep_their_own_latest() {
    let broker = broker().await;
    let mut agent = broker.agent("a").await;
    let mut other = broker.agent("b").await;
    let mut session = broker.session().await;
    let to = session.address();
    fill(&broker, &mut agent, &mut session, json!({"type":"low:x","priority":"low"})).await;
    for n in 0..3 {
        for key in ["k1", "k2"] {
            let id = format!("{key}-{n}");
            agent.send(json!({"type":"cell:set","id":id,"target":to,"overflow":"latest","conflation_key":key})).await;
        }
        agent.send(json!({"type":"cell:see","id":format!("t-{n}"),"target":to,"overflow":"latest"})).await;
        other.send(json!({"type":"cell:see","id":format!("o-{n}"),"target":to,"overflow":"latest"})).await;
        agent.settle().await;
        other.settle().await;
    }
    agent.send(json!({"type":"end:x","target":to})).await;
    let frames = read_through(&mut session, "end:x").await;
    let cells = frames.iter().filter(|frame| frame["type"].as_str().is_some_and(|kind| kind.starts_with("cell:")));
    let mut ids: Vec<_> = cells.filter_map(|frame| frame["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["k1-2", "k2-2", "o-2", "t-2"]);
}

#[actix_rt::test]
async fn deltas_are_put_together_for_a_reader_that_is_behind_and_no_text_is_lost() {
    // Far more than the writer takes at once, where nothing can give way any more.
    let broker = TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 512 * 1024;
        settings.limits.flow_control_burst = Duration::ZERO;
    })
    .await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    let to = session.address();
    fill(&broker, &mut agent, &mut session, json!({"type":"low:x","priority":"low"})).await;
    for index in 0..2000 {
        let payload = json!({"text": format!("\"{index}\" é\n"), "index": index});
        agent.send(json!({"type":"message:delta","target":to,"correlation_id":"q","overflow":"merge","payload":payload})).await;
    }
    agent.send(json!({"type":"message:done","target":to,"correlation_id":"q"})).await;
    let frames = read_through(&mut session, "message:done").await;
    let (mut text, mut next, mut came) = (String::new(), 0, 0);
    for frame in of_type(&frames, "message:delta") {
        let payload = &frame["payload"];
        assert_eq!(
            (&payload["index"], &frame["correlation_id"], &frame["source"]),
            (&next.into(), &"q".into(), &"agent:a".into())
        );
        next = payload.get("through").unwrap_or(&payload["index"]).as_u64().expect("a number") + 1;
        text.push_str(payload["text"].as_str().expect("text"));
        came += 1;
    }
    assert_eq!(text, (0..2000).map(|index| format!("\"{index}\" é\n")).collect::<String>());
    assert!(came < 1900, "{came} frames");
    assert_eq!(count(&broker.stats().await, "/slow_consumers/conflated_messages"), 2000 - came);
}

#[actix_rt::test]
async fn drop_oldest_pauses_no_sender_and_ends_with_the_newest() {
    let broker = TestBroker::with(|settings| settings.limits.outbox_bytes = 64 * 1024).await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    let to = session.address();
    let sent = fill(&broker, &mut agent, &mut session, json!({"type":"tick:x","overflow":"drop_oldest"})).await;
    agent.send(json!({"type":"tick:x","target":to,"overflow":"drop_oldest","payload":"newest"})).await;
    agent.send(json!({"type":"say:x","target":to})).await;
    agent.settle().await;
    let (mut seen, mut lost, mut newest) = (0, 0, json!(null));
    let mut said = false;
    while seen + lost < sent + 1 || !said {
        let frame = session.next().await;
        match frame["type"].as_str() {
            Some("tick:x") => {
                seen += 1;
                newest = frame["payload"].clone();
            }
            Some("say:x") => said = true,
            Some("system:lost") => lost += frame["payload"]["count"].as_u64().expect("a count"),
            _ => {}
        }
    }
    assert_eq!(newest, "newest");
    assert!(seen + lost == sent + 1 && lost > 0);
    eventually("the sender was never paused", || async { count(&broker.stats().await, "/slow_consumers/sender_pauses") == 0 })
        .await;
}
