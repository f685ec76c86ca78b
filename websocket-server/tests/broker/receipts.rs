//! Receipts: the sender of a durable message hears when it was delivered and acknowledged.

use std::collections::HashSet;

use common::{
    assertion::{Acks, ClientIdentity, Prefetch, Reading},
    config::{Backend, Durability, Retention},
    id::SessionId,
};
use serde_json::{Value, json};

use crate::harness::TestBroker;

#[actix_rt::test]
async fn a_sender_is_told_of_delivery_and_acknowledgement() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let path = "/ws/agent?agent_id=worker&ack=explicit";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    sender.send(json!({"type":"job:new","id":"1","target":"agent:worker","receipt":true})).await;
    let delivered = sender.expect("message:delivered").await;
    let seq = worker.expect("job:new").await["seq"].clone();
    assert_eq!((&delivered["correlation_id"], &delivered["payload"]["seq"]), (&json!("1"), &seq));
    worker.send(json!({"type":"message:ack","payload":{"through":seq}})).await;
    let acknowledged = sender.expect("message:acknowledged").await;
    assert_eq!((&acknowledged["correlation_id"], &acknowledged["payload"]["channel"]), (&json!("1"), &json!("agent:worker")));
    // Once.
    worker.send(json!({"type":"message:ack","payload":{"through":seq}})).await;
    worker.settle().await;
    sender.expect_nothing().await;
}

#[actix_rt::test]
async fn a_delivery_is_told_once_however_many_readers_wait_for_places() {
    const MESSAGES: usize = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(|settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
    })
    .await;
    let mut sender = broker.agent("sender").await;
    let reading = Reading { acks: Acks::Explicit, prefetch: Prefetch::new(1).expect("in bounds"), ..Reading::default() };
    let identity = ClientIdentity { reading, ..ClientIdentity::anonymous(SessionId::fresh()) };
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(broker.session_as(identity.clone()).await);
    }
    let target = readers[0].address();
    for number in 0..MESSAGES {
        sender.send(json!({"type":"job:new","id":number.to_string(),"target":target,"receipt":true})).await;
    }
    for _ in 0..MESSAGES {
        let mut seq = Value::Null;
        for reader in &mut readers {
            seq = reader.expect("job:new").await["seq"].clone();
        }
        // The place of each is free at the same time.
        readers[0].send(json!({"type":"message:ack","payload":{"seqs":[seq]}})).await;
    }
    let mut told = Vec::new();
    while told.iter().filter(|(kind, _)| kind == "message:acknowledged").count() < MESSAGES {
        let frame = sender.next().await;
        told.push((frame["type"].as_str().unwrap_or_default().to_owned(), frame["correlation_id"].clone()));
    }
    for number in 0..MESSAGES {
        let of = |kind: &str| told.iter().filter(|of| **of == (kind.to_owned(), json!(number.to_string()))).count();
        assert_eq!((of("message:delivered"), of("message:acknowledged")), (1, 1), "{number}");
    }
    sender.expect_nothing().await;
}

#[actix_rt::test]
async fn receipts_come_also_when_the_receiver_comes_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = |settings: &mut common::config::Settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
    };
    let broker = TestBroker::with(on_disk).await;
    let mut sender = broker.agent("sender").await;
    sender.send(json!({"type":"job:new","id":"1","target":"agent:worker","receipt":true})).await;
    sender.expect("message:accepted").await;
    drop(sender);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk).await;
    let mut sender = broker.agent("sender").await;
    let mut worker = broker.dial("/ws/agent?agent_id=worker", Some("test-agent-key")).await.expect("upgraded");
    worker.expect("job:new").await;
    assert_eq!(sender.expect("message:delivered").await["correlation_id"], "1");
    // The worker answers marks while it reads.
    let acknowledged = async { sender.expect("message:acknowledged").await };
    let reading = async {
        loop {
            worker.settle().await;
        }
    };
    tokio::select! {
        frame = acknowledged => assert_eq!(frame["correlation_id"], "1"),
        () = reading => {}
    }
}

#[actix_rt::test]
async fn a_reader_on_another_thread_than_the_sender_is_asked_for_its_marks_too() {
    let broker = TestBroker::with(|settings| settings.broker.workers = 4).await;
    let mut sender = broker.agent("sender").await;
    let mut workers = Vec::new();
    for at in 0..8 {
        workers.push(broker.agent(&format!("worker-{at}")).await);
        sender.send(json!({"type":"job:new","id":at.to_string(),"target":format!("agent:worker-{at}"),"receipt":true})).await;
    }
    let reading = workers.into_iter().map(|mut worker| async move {
        loop {
            worker.settle().await;
        }
    });
    let acknowledged = async {
        for _ in 0..8 {
            sender.expect("message:acknowledged").await;
        }
    };
    tokio::select! {
        () = acknowledged => {}
        _ = futures_util::future::join_all(reading) => {}
    }
}

#[actix_rt::test]
async fn a_receipt_makes_a_message_to_an_inbox_durable_and_is_refused_elsewhere() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut worker = broker.agent("worker").await;
    sender.send(json!({"type":"message:delta","id":"d","target":"agent:worker","receipt":true,"payload":{}})).await;
    assert_eq!(sender.expect("message:accepted").await["correlation_id"], "d");
    assert_eq!(worker.expect("message:delta").await["channel"], "agent:worker");
    sender.settle().await;
    let refused = [
        json!({"type":"job:new","id":"t","target":"topic:t","receipt":true}),
        json!({"type":"job:new","id":"td","target":"topic:t","delivery":"durable","receipt":true}),
        json!({"type":"job:new","id":"b","target":"broadcast:agents","receipt":true}),
        json!({"type":"job:new","id":"e","target":"agent:worker","delivery":"ephemeral","receipt":true}),
    ];
    for frame in refused {
        sender.send(frame.clone()).await;
        assert_eq!(sender.expect_error("invalid_envelope").await["correlation_id"], frame["id"]);
    }
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn receipts_follow_the_confirmation_that_a_message_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(|settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Fsync;
        settings.data.dir = folder.path().to_owned();
        settings.store.inbox = Retention { messages: 4, ..settings.store.inbox };
    })
    .await;
    let mut sender = broker.agent("sender").await;
    let mut worker = broker.agent("worker").await;
    for round in 0..8 {
        for at in 0..8 {
            let id = format!("{round}.{at}");
            sender.send(json!({"type":"job:new","id":id,"target":"agent:worker","receipt":true})).await;
            // Nobody takes any of eight messages. Later ones push out the first, and the last, of
            // lower priority, go at once.
            let priority = if at < 6 { "high" } else { "low" };
            let id = format!("{id} away");
            let away = json!({"type":"job:new","id":id,"target":"agent:away","delivery":"durable","priority":priority});
            sender.send(away).await;
        }
        let (mut accepted, mut delivered, mut expired) = (HashSet::new(), 0, 0);
        while (accepted.len(), delivered) != (16, 8) || expired < 4 {
            let frame = sender.next().await;
            let id = frame["correlation_id"].as_str().unwrap_or_default().to_owned();
            match frame["type"].as_str() {
                Some("message:accepted") => assert!(accepted.insert(id), "{frame}"),
                Some("message:delivered") => delivered += usize::from(is_of(&accepted, &id, round, &frame)),
                Some("message:acknowledged") => drop(is_of(&accepted, &id, round, &frame)),
                Some("message:expired") => {
                    let is_of_round = is_of(&accepted, &id, round, &frame);
                    expired += usize::from(is_of_round && id.ends_with("away"));
                }
                _ => {}
            }
        }
        worker.settle().await;
    }
}

/// Whether a notice is about a message of this round; then its sender must know that it is stored.
fn is_of(accepted: &HashSet<String>, id: &str, round: usize, notice: &Value) -> bool {
    let is_of_round = id.starts_with(&format!("{round}."));
    assert!(!is_of_round || accepted.contains(id), "told before it was accepted: {notice}");
    is_of_round
}
