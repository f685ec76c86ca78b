//! Doors whose broker is killed, and doors whose names others take over.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    address::Address,
    assertion::Acks,
    close::CloseCode,
    envelope::Delivery,
    id::{ClientName, SessionId, TopicName},
};
use gateway::doors::{Door, DoorError, DoorState, Ending, Inbox, Incoming, Outgoing, Tuning};
use serde_json::json;

use crate::harness::{BRIDGE_SECRET, Site, eventually, everyone, in_time, quick, scaled};

fn site() -> Site {
    Site::new().with("broker.bridge_secret", BRIDGE_SECRET)
}

fn to(address: &str) -> Address {
    Address::parse(address).expect("an address")
}

fn job(number: usize, target: &str) -> Outgoing {
    Outgoing::new("job:new").id(format!("{target}-{number}")).to(&to(target)).delivery(Delivery::Durable).payload(json!(number))
}

fn news() -> TopicName {
    TopicName::new("news").expect("a name")
}

/// Receives until the message with the number `last` is here, and acknowledges each at the door, if
/// one is given.
async fn read_through(inbox: &mut Inbox, last: usize, acknowledge_at: Option<&Door>) -> Vec<Incoming> {
    let mut came = Vec::new();
    loop {
        let message = in_time("a message", inbox.recv()).await.expect("the door is open");
        if message.kind != "job:new" {
            assert_ne!(message.kind, "system:lost", "{}", message.text());
            continue;
        }
        if let Some(door) = acknowledge_at {
            door.acknowledge(message.position.as_ref().expect("durable")).await.expect("open");
        }
        let number = message.payload::<usize>().expect("a number");
        came.push(message);
        if number == last {
            return came;
        }
    }
}

/// For each number that the bridge gave: which message came, and how often unmarked and marked.
fn by_seq(came: &[Incoming]) -> BTreeMap<u64, (usize, u32, u32)> {
    let mut table = BTreeMap::new();
    for message in came {
        let seq = message.position.as_ref().expect("durable").known.seq;
        let number = message.payload::<usize>().expect("a number");
        let (known, fresh, marked) = table.entry(seq).or_insert((number, 0, 0));
        assert_eq!(*known, number, "a number of the bridge's is given once");
        *(if message.redelivered == 0 { fresh } else { marked }) += 1;
    }
    table
}

#[tokio::test]
async fn doors_are_back_after_the_broker_is_killed_and_nothing_durable_is_lost_or_comes_twice() {
    let (kills, per_life) = (scaled(3, 30), 20);
    let site = site();
    let mut broker = site.broker_alone().await;
    let last = (kills + 1) * per_life;
    let (sender, _receipts) = site.agent_door("sender", quick());
    let (worker, mut inbox) = site.agent_door("worker", Tuning { acks: Acks::Explicit, ..quick() });
    let (reader, mut log) = site.session_door(SessionId::fresh(), quick());
    in_time("the worker is there", worker.opened()).await.expect("open");
    in_time("subscribed", reader.subscribe(&news(), false, None)).await.expect("subscribed");

    let confirmed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&confirmed);
    let publishing = tokio::spawn(async move {
        let mut seqs = Vec::new();
        for number in 0..last {
            let mut of_number = [0; 2];
            for (seq, target) in of_number.iter_mut().zip(["agent:worker", "topic:news"]) {
                *seq = loop {
                    // The door sends it again if the broker dies. A broker whose store is closing
                    // refuses it.
                    match sender.publish(job(number, target)).await {
                        Ok(stored) => break stored.seq,
                        Err(DoorError::Refused(error)) if error.temporary => tokio::task::yield_now().await,
                        Err(error) => panic!("{number} to {target}: {error}"),
                    }
                };
            }
            seqs.push(of_number);
            count.fetch_add(1, Relaxed);
        }
        (seqs, sender)
    });
    let working = tokio::spawn(async move {
        let came = read_through(&mut inbox, last, Some(&worker)).await;
        (came, worker)
    });
    let reading = tokio::spawn(async move {
        let came = read_through(&mut log, last, None).await;
        (came, reader)
    });
    for life in 1..=kills {
        eventually("messages pass", async || confirmed.load(Relaxed) >= life * per_life).await;
        broker.kill();
        broker = site.broker_alone().await;
    }
    let (seqs, sender) = in_time("all is published", publishing).await.expect("no panic");
    // The last messages go to a broker that stays, so that none of them is delivered and then lost.
    for target in ["agent:worker", "topic:news"] {
        sender.publish(job(last, target)).await.expect("stored");
    }
    let ((worked, worker), (read, reader)) =
        in_time("all is read", async { tokio::try_join!(working, reading).expect("no panic") }).await;

    let (worked, read) = (by_seq(&worked), by_seq(&read));
    for (number, [to_worker, to_topic]) in seqs.into_iter().enumerate() {
        let (of_worker, of_topic) = (worked.get(&to_worker), read.get(&to_topic));
        assert!(matches!(of_worker, Some((known, 0 | 1, _)) if *known == number), "{number}: {of_worker:?}");
        assert_eq!(of_topic, Some(&(number, 1, 0)), "exactly once, by its position");
    }
    // Messages that the worker has acknowledged are not redelivered.
    assert!(in_time("drained", worker.drain(Duration::from_secs(20))).await);
    let positions = reader.positions().await.expect("open");
    assert_eq!(positions["topic:news"].seq, *read.last_key_value().expect("read").0);
}

#[tokio::test]
async fn a_session_whose_client_name_is_taken_over_reads_on_under_another() {
    let site = site();
    let _broker = site.broker_alone().await;
    let session = SessionId::fresh();
    let name = ClientName::new("tab").expect("a name");
    let named = || Tuning { client: Some(name.clone()), ..quick() };
    let (first, mut of_first) = site.session_door(session, named());
    in_time("subscribed", first.subscribe(&news(), false, None)).await.expect("subscribed");
    let (sender, _receipts) = site.agent_door("sender", quick());
    in_time("stored", sender.publish(job(0, "topic:news"))).await.expect("stored");
    read_through(&mut of_first, 0, None).await;

    // It takes over all state under the name, including the subscription to the topic.
    let (second, mut of_second) = site.session_door(session, named());
    in_time("open", second.opened()).await.expect("open");
    in_time("the first has come back", async {
        while first.client().await.expect("the door is open").as_ref() == Some(&name) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    in_time("stored", sender.publish(job(1, "topic:news"))).await.expect("stored");
    let came = read_through(&mut of_first, 1, None).await;
    assert_eq!(by_seq(&came).values().copied().collect::<Vec<_>>(), [(1, 1, 0)], "from its position");
    in_time("the first is open", first.opened()).await.expect("open");
    read_through(&mut of_second, 1, None).await;
    assert_eq!(second.client().await.expect("open"), Some(name));
}

#[tokio::test]
async fn an_agent_whose_id_is_taken_over_stays_away() {
    let site = site();
    let _broker = site.broker_alone().await;
    let (first, _inbox) = site.agent_door("worker", quick());
    in_time("open", first.opened()).await.expect("open");
    let (second, _inbox_of_second) = site.agent_door("worker", quick());
    in_time("open", second.opened()).await.expect("open");
    let ending = in_time("closed", first.closed()).await;
    assert!(matches!(ending, Ending::Closed { code: CloseCode::TAKEN_OVER, .. }), "{ending:?}");
    assert!(second.state().is_open());
}

#[tokio::test]
async fn a_door_that_is_full_while_nobody_is_there_can_be_closed() {
    let site = site();
    let tuning = || Tuning { queue_messages: 1, ..quick() };
    let everybody = everyone((0..2).map(|number| {
        let (door, _inbox) = site.agent_door("worker", tuning());
        async move {
            while door.try_send(Outgoing::new("a:b").to(&to("agent:x"))).is_ok() {
                // The door accepts messages until its queue is full.
                tokio::task::yield_now().await;
            }
            match number {
                0 => in_time("closed", door.close()).await,
                _ => assert!(!in_time("given up", door.drain(Duration::from_millis(50))).await),
            }
            assert_eq!(door.state(), DoorState::Closed(Ending::Ours));
        }
    }));
    in_time("closed", everybody).await;
}
