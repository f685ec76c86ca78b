//! What an acknowledgement covers: its inbox, and no more than was handed out of it.

use common::{
    assertion::{Acks, ClientIdentity, Reading},
    id::SessionId,
};
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker, eventually, login};

fn durable(target: &str, payload: u64) -> Value {
    json!({"type":"job:new","id":SessionId::fresh(),"target":target,"delivery":"durable","payload":payload})
}

async fn leave(sender: &mut Peer, target: &str, count: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    for at in 0..count {
        sender.send(durable(target, at)).await;
        seqs.push(sender.expect("message:accepted").await["payload"]["seq"].as_u64().expect("a number"));
    }
    seqs
}

fn ack(payload: Value) -> Value {
    json!({"type":"message:ack","id":"ack","payload":payload})
}

async fn has_unacked(broker: &TestBroker, channel: &str, count: u64) {
    eventually(&format!("{count} wait in {channel}"), async || broker.channel(channel).await.unacked == count).await;
}

#[actix_rt::test]
async fn a_message_that_was_not_delivered_cannot_be_acknowledged() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let seqs = leave(&mut sender, "agent:worker", 3).await;
    // Its inbox is held back until it names its positions.
    let path = "/ws/agent?agent_id=worker&ack=explicit&resume=true";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    worker.send(ack(json!({"through":seqs[2] + 1_000_000}))).await;
    let error = worker.expect_error("position_ahead").await;
    assert_eq!((&error["correlation_id"], &error["payload"]["target"]), (&json!("ack"), &json!("agent:worker")));
    // There is such a message, but nobody got it.
    worker.send(ack(json!({"through":seqs[2]}))).await;
    worker.settle().await;
    let epoch = broker.handle.broker().channels.epoch().to_string();
    let position = json!({"epoch":epoch,"seq":seqs[2] + 1_000_000});
    worker.send(json!({"type":"connection:resume","id":"r","payload":{"channels":{"agent:worker":position}}})).await;
    let resumed = worker.expect("connection:resumed").await;
    assert_eq!(resumed["payload"]["channels"]["agent:worker"]["recovered"], false);
    for seq in &seqs {
        assert_eq!(worker.expect("job:new").await["seq"], *seq);
    }
    has_unacked(&broker, "agent:worker", 3).await;
    // A number between two messages also acknowledges what is before it.
    worker.send(ack(json!({"through":seqs[1]}))).await;
    has_unacked(&broker, "agent:worker", 1).await;
    worker.send(ack(json!({"through":seqs[2]}))).await;
    has_unacked(&broker, "agent:worker", 0).await;
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn messages_delivered_before_a_restart_can_be_acknowledged_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = |settings: &mut common::config::Settings| {
        settings.store.backend = common::config::Backend::Embedded;
        settings.store.durability = common::config::Durability::Process;
        settings.data.dir = folder.path().to_owned();
    };
    let broker = TestBroker::with(on_disk).await;
    let mut sender = broker.agent("sender").await;
    let path = "/ws/agent?agent_id=worker&ack=explicit";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    let given = leave(&mut sender, "agent:worker", 3).await;
    for _ in &given {
        worker.expect("job:new").await;
    }
    worker.close().await;
    let left = leave(&mut sender, "agent:worker", 2).await;
    drop(sender);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk).await;
    let mut worker = broker.dial(&format!("{path}&resume=true"), Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    worker.send(ack(json!({"through":left[1]}))).await;
    // Three were given to it in the earlier life, two to nobody.
    has_unacked(&broker, "agent:worker", 2).await;
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn an_acknowledgement_that_names_no_inbox_is_of_the_one_that_has_the_message() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.login = Some(login("ann"));
    identity.reading = Reading { acks: Acks::Explicit, ..Reading::default() };
    let mut reader = broker.session_as(identity).await;
    let own = reader.address();
    let [own_seqs, user_seqs] = [leave(&mut sender, &own, 2).await, leave(&mut sender, "user:ann", 3).await];
    for _ in 0..5 {
        reader.expect("job:new").await;
    }
    reader.send(ack(json!({"through":user_seqs[1]}))).await;
    has_unacked(&broker, "user:ann", 1).await;
    has_unacked(&broker, &own, 2).await;
    reader.send(json!({"type":"message:nack","payload":{"seq":user_seqs[2],"delay_ms":0}})).await;
    let again = reader.expect("job:new").await;
    assert_eq!((&again["seq"], &again["redelivered"]), (&json!(user_seqs[2]), &json!(1)));
    reader.send(ack(json!({"seqs":[own_seqs[0], user_seqs[2]]}))).await;
    has_unacked(&broker, "user:ann", 0).await;
    has_unacked(&broker, &own, 1).await;
    reader.send(ack(json!({"through":own_seqs[1]}))).await;
    has_unacked(&broker, &own, 0).await;
    // Nothing says which inbox is meant.
    reader.send(ack(json!({"through":user_seqs[2] + 1_000_000}))).await;
    assert_eq!(reader.expect_error("invalid_payload").await["correlation_id"], "ack");
    reader.send(ack(json!({"through":user_seqs[2] + 1_000_000,"channel":"user:ann"}))).await;
    reader.expect_error("position_ahead").await;
    reader.expect_nothing().await;
}
