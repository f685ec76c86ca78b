//! Requests about topics that are sent without waiting for answers: each is answered once, in
//! order.

use common::{
    assertion::{ClientIdentity, Reading},
    config::{Backend, Durability, Settings},
    id::{ClientName, SessionId},
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Peer, TestBroker, eventually};

/// No client name, the client's own, and one that its edge assigned.
const NAMES: [Option<&str>; 3] = [None, Some("tab-1"), Some("@edge/1")];

fn identity(session_id: SessionId, client: Option<&str>) -> ClientIdentity {
    let client = client.map(|name| ClientName::new(name).expect("a name"));
    ClientIdentity { reading: Reading { client, ..Reading::default() }, ..ClientIdentity::anonymous(session_id) }
}

fn on_disk(folder: &tempfile::TempDir) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
    }
}

/// Sends all frames in one write, so that the broker has them before it has answered any.
async fn send_at_once(peer: &mut Peer, frames: impl IntoIterator<Item = Value>) {
    for frame in frames {
        peer.socket.feed(Message::text(frame.to_string())).await.expect("takes a frame");
    }
    peer.socket.flush().await.expect("takes the frames");
}

async fn publish(sender: &mut Peer, numbers: std::ops::Range<u64>) -> Vec<Value> {
    let mut seqs = Vec::new();
    for at in numbers {
        sender
            .send(json!({"type":"news:new","id":SessionId::fresh(),"target":"topic:t","delivery":"durable","payload":at}))
            .await;
        seqs.push(sender.expect("message:accepted").await["payload"]["seq"].clone());
    }
    seqs
}

fn subscribe(id: &str, from: Value) -> Value {
    json!({"type":"topic:subscribe","id":id,"payload":{"topic":"t","from":from}})
}

fn unsubscribe(id: &str) -> Value {
    json!({"type":"topic:unsubscribe","id":id,"payload":{"topic":"t"}})
}

/// The ids and types of the answers among the frames up to the answer to `last`.
async fn answers(peer: &mut Peer, last: &str) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    loop {
        let frame = peer.next().await;
        if let Some(id) = frame["correlation_id"].as_str() {
            answers.push((id.to_owned(), frame["type"].as_str().expect("a type").to_owned()));
            if id == last {
                return answers;
            }
        }
    }
}

fn expected(answers: &[(&str, &str)]) -> Vec<(String, String)> {
    answers.iter().map(|(id, kind)| ((*id).to_owned(), (*kind).to_owned())).collect()
}

#[actix_rt::test]
async fn subscribing_and_unsubscribing_at_once_is_answered_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(&folder)).await;
    let mut agent = broker.agent("a").await;
    publish(&mut agent, 0..3).await;
    for name in NAMES {
        let mut reader = broker.session_as(identity(SessionId::fresh(), name)).await;
        for _ in 0..3 {
            send_at_once(&mut reader, [subscribe("s", json!({"seq":0})), unsubscribe("u")]).await;
            let told = answers(&mut reader, "u").await;
            assert_eq!(told, expected(&[("s", "topic:subscribed"), ("u", "topic:unsubscribed")]), "{name:?}");
        }
        reader.settle().await;
        publish(&mut agent, 3..4).await;
        reader.expect_nothing().await;
    }
}

#[actix_rt::test]
async fn each_of_several_starts_is_answered_with_its_own_position_and_the_last_is_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(&folder)).await;
    let mut agent = broker.agent("a").await;
    let seqs = publish(&mut agent, 0..5).await;
    for name in NAMES {
        let mut reader = broker.session_as(identity(SessionId::fresh(), name)).await;
        let starts = [("s1", json!({"last":0}), 4), ("s2", json!({"seq":seqs[2]}), 2), ("s3", json!({"seq":seqs[0]}), 0)];
        send_at_once(&mut reader, starts.iter().map(|(id, from, _)| subscribe(id, from.clone()))).await;
        for (id, _, at) in &starts {
            let answer = reader.expect("topic:subscribed").await;
            assert_eq!((&answer["correlation_id"], &answer["payload"]["from"]), (&json!(id), &seqs[*at]), "{name:?}");
        }
        for at in 1..5 {
            assert_eq!(reader.expect("news:new").await["payload"], at, "{name:?}");
        }
        reader.expect_nothing().await;
    }
}

#[actix_rt::test]
async fn a_resumption_waits_for_earlier_requests_about_its_channels_and_later_ones_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(&folder)).await;
    let mut agent = broker.agent("a").await;
    let seqs = publish(&mut agent, 0..3).await;
    let epoch = broker.handle.broker().channels.epoch().to_string();
    for name in NAMES {
        let mut reader = broker.session_as(identity(SessionId::fresh(), name)).await;
        let position = json!({"topic:t":{"epoch":epoch,"seq":seqs[1]},"topic:u":{"epoch":epoch,"seq":0}});
        let resume = json!({"type":"connection:resume","id":"r","payload":{"channels":position}});
        let again = json!({"type":"topic:subscribe","id":"again","payload":{"topic":"u","from":{"last":1}}});
        let requests = [subscribe("s", json!({"seq":0})), resume, unsubscribe("u"), again, unsubscribe("last")];
        send_at_once(&mut reader, requests).await;
        let told = answers(&mut reader, "last").await;
        let of = |ids: &[&str]| told.iter().filter(|(id, _)| ids.contains(&id.as_str())).cloned().collect::<Vec<_>>();
        let about_t =
            [("s", "topic:subscribed"), ("r", "connection:resumed"), ("u", "topic:unsubscribed"), ("last", "topic:unsubscribed")];
        assert_eq!(of(&["s", "r", "u", "last"]), expected(&about_t), "{name:?}");
        let mut about_u = of(&["r", "again"]);
        if about_u.len() < 2 {
            about_u.extend(answers(&mut reader, "again").await);
        }
        assert_eq!(about_u, expected(&[("r", "connection:resumed"), ("again", "topic:subscribed")]), "{name:?}");
    }
}

#[actix_rt::test]
async fn a_connection_that_ends_before_its_answers_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(&folder)).await;
    let mut agent = broker.agent("a").await;
    let seqs = publish(&mut agent, 0..3).await;
    let epoch = broker.handle.broker().channels.epoch().to_string();
    let session = SessionId::fresh();
    for round in 0..12 {
        let mut reader = broker.session_as(identity(session, Some("@edge/1"))).await;
        let position = json!({"topic:t":{"epoch":epoch,"seq":seqs[1]}});
        let resume = json!({"type":"connection:resume","id":"r","payload":{"channels":position}});
        let requests =
            [subscribe("s1", json!({"seq":0})), resume.clone(), unsubscribe("u"), subscribe("s2", json!({"last":1})), resume];
        send_at_once(&mut reader, requests.into_iter().skip(round % 4)).await;
        // It has left for good: what was stored for it is removed, also what was still to be
        // stored.
        reader.close().await;
    }
    let router = &broker.handle.broker().router;
    eventually("nobody subscribes", async || router.read().topic_count() == 0).await;
    let mut again = broker.session_as(identity(session, Some("@edge/1"))).await;
    publish(&mut agent, 3..4).await;
    again.expect_nothing().await;
}

#[actix_rt::test]
async fn a_subscription_ended_during_its_restoration_is_not_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(&folder)).await;
    let mut agent = broker.agent("a").await;
    publish(&mut agent, 0..3).await;
    let session = SessionId::fresh();
    for _ in 0..8 {
        let mut reader = broker.session_as(identity(session, Some("tab-1"))).await;
        reader.send(subscribe("s", json!({"last":0}))).await;
        answers(&mut reader, "s").await;
        reader.send(json!({"type":"topic:subscribe","id":"kept","payload":{"topic":"kept"}})).await;
        answers(&mut reader, "kept").await;
        drop(reader);
        let mut reader = broker.dial_session(&identity(session, Some("tab-1"))).await.expect("upgraded");
        reader.send(unsubscribe("u")).await;
        let (mut ended, mut resumed) = (false, Value::Null);
        while !ended || resumed.is_null() {
            let frame = reader.next().await;
            match frame["type"].as_str() {
                Some("topic:unsubscribed") => ended = true,
                Some("connection:resumed") => {
                    let channels = &frame["payload"]["channels"];
                    assert!(channels["topic:kept"].is_object(), "{frame}");
                    assert!(!ended || channels["topic:t"].is_null(), "{frame}");
                    resumed = frame;
                }
                _ => {}
            }
        }
        publish(&mut agent, 3..4).await;
        reader.expect_nothing().await;
    }
}
