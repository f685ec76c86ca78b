//! Doors over the pipe to a broker in the same process, which is stopped and started again on the
//! same data.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

use std::{sync::Arc, time::Duration};

use common::{
    address::Address,
    assertion::{Acks, ClientIdentity},
    config::{Backend, Durability, Settings},
    envelope::Delivery,
    error::ErrorCode,
    id::{AgentId, SessionId, TopicName},
    secret::Secret,
};
use gateway::doors::{
    AgentEntrance, AgentOptions, Backoff, Door, DoorError, Ending, Inbox, Incoming, Outgoing, SessionEntrance, SessionOptions,
    Tuning,
};
use serde_json::{Value, json};
use std::sync::Mutex;
use transport::Socket;
use websocket_server::{BrokerHandle, LocalBroker};

/// A broker that can be another one later.
#[derive(Clone)]
struct Here(Arc<Mutex<LocalBroker>>);

struct Place {
    _folder: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::for_tests();
        settings.data.dir = folder.path().to_owned();
        settings.broker.addr = ([127, 0, 0, 1], 0).into();
        settings.broker.workers = 1;
        settings.drain.timeout = Duration::from_secs(5);
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        Self { _folder: folder, settings }
    }

    async fn broker(&self) -> BrokerHandle {
        websocket_server::start(&self.settings).await.expect("starts")
    }

    fn key(&self) -> Secret {
        self.settings.broker.agent_keys[0].key.clone()
    }

    fn agent(&self, here: &Here, id: &str, tuning: Tuning) -> (Door, Inbox) {
        let broker = here.clone();
        let pipe = Arc::new(move |agent, key: &Secret, reading| {
            let socket = broker.0.lock().unwrap().connect_agent(agent, key, reading)?;
            Ok(Box::new(socket) as Box<dyn Socket>)
        });
        let agent = AgentId::new(id).expect("a name");
        Door::agent(AgentOptions { entrance: AgentEntrance::Pipe(pipe), agent, key: self.key(), registration: None, tuning })
    }
}

fn session(here: &Here, identity: ClientIdentity, tuning: Tuning) -> (Door, Inbox) {
    let broker = here.clone();
    let pipe = Arc::new(move |identity| {
        let socket = broker.0.lock().unwrap().connect(identity)?;
        Ok(Box::new(socket) as Box<dyn Socket>)
    });
    Door::session(SessionOptions { entrance: SessionEntrance::Pipe(pipe), identity, tuning })
}

fn quick() -> Tuning {
    Tuning { backoff: Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(100) }, ..Tuning::default() }
}

fn to(address: &str) -> Address {
    Address::parse(address).expect("an address")
}

fn job(number: u32) -> Outgoing {
    Outgoing::new("job:new").id(number.to_string()).delivery(Delivery::Durable).payload(json!(number))
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

async fn next(inbox: &mut Inbox, kind: &str) -> Incoming {
    in_time(kind, async {
        loop {
            let message = inbox.recv().await.expect("the door is open");
            if message.kind == kind {
                return message;
            }
        }
    })
    .await
}

#[actix_rt::test]
async fn questions_pass_both_ways_and_refusals_have_the_bridges_codes() {
    let place = Place::new();
    let broker = place.broker().await;
    let here = Here(Arc::new(Mutex::new(broker.local())));
    let (agent, mut questions) = place.agent(&here, "a", quick());
    let (client, _inbox) = session(&here, ClientIdentity::anonymous(SessionId::fresh()), quick());
    in_time("open", agent.opened()).await.expect("open");
    let question = Outgoing::new("message:send").to(&to("agent:a")).payload(json!({"n": 1}));
    let asking = client.request(question, Duration::from_secs(10));
    let answering = async {
        let question = next(&mut questions, "message:send").await;
        agent.send(Outgoing::answer("message:done", &question).payload(json!({"n": 2}))).await.expect("open");
    };
    let (answer, ()) = in_time("an answer", async { tokio::join!(asking, answering) }).await;
    assert_eq!(answer.expect("an answer").payload::<Value>().expect("JSON"), json!({"n": 2}));

    let nobody = client.request(Outgoing::new("message:send").to(&to("agent:nobody")), Duration::from_secs(10)).await;
    let Err(DoorError::Refused(error)) = nobody else { panic!("{nobody:?}") };
    assert_eq!(error.code, Some(ErrorCode::AgentNotFound));
    let limit = Duration::from_millis(100);
    let unanswered = client.request(Outgoing::new("message:send").to(&to("agent:a")), limit).await;
    let Err(DoorError::Refused(error)) = unanswered else { panic!("{unanswered:?}") };
    assert_eq!(error.code, Some(ErrorCode::ReplyTimeout));
    let long = client.send(Outgoing::new("message:send").payload(json!("x".repeat(2 << 20)))).await;
    assert!(matches!(long, Err(DoorError::TooBig { .. })));
    assert!(in_time("drained", client.drain(Duration::from_secs(10))).await);
    assert_eq!(client.closed().await, Ending::Ours);
    assert_eq!(client.send(Outgoing::new("a:b")).await, Err(DoorError::Closed));
}

#[actix_rt::test]
async fn a_wrong_key_closes_the_door_for_good() {
    let mut place = Place::new();
    let broker = place.broker().await;
    let here = Here(Arc::new(Mutex::new(broker.local())));
    place.settings.broker.agent_keys[0].key = Secret::new("another-key-than-the-broker-has");
    let (agent, _inbox) = place.agent(&here, "a", quick());
    let Err(Ending::Refused { status: 401, error }) = in_time("refused", agent.opened()).await else { panic!("refused") };
    assert_eq!(error.code, Some(ErrorCode::Unauthorized));
}

#[actix_rt::test]
async fn a_broker_that_restarts_is_found_again_and_nothing_durable_is_lost() {
    let place = Place::new();
    let broker = place.broker().await;
    let here = Here(Arc::new(Mutex::new(broker.local())));
    let (sender, _) = place.agent(&here, "sender", quick());
    let (receiver, mut inbox) = place.agent(&here, "receiver", quick());
    let (reader, mut news) = session(&here, ClientIdentity::anonymous(SessionId::fresh()), quick());
    let topic = TopicName::new("news").expect("a name");
    in_time("open", receiver.opened()).await.expect("open");
    in_time("subscribed", reader.subscribe(&topic, false, None)).await.expect("subscribed");
    for number in 0..2 {
        sender.publish(job(number).to(&to("agent:receiver"))).await.expect("stored");
        sender.publish(job(number + 10).to(&to("topic:news"))).await.expect("stored");
        assert_eq!(next(&mut inbox, "job:new").await.payload::<u32>().expect("a number"), number);
        assert_eq!(next(&mut news, "job:new").await.payload::<u32>().expect("a number"), number + 10);
    }
    in_time("drained", broker.drain()).await;

    let publishing = async {
        for number in 2..5 {
            sender.publish(job(number).to(&to("agent:receiver"))).await.expect("stored");
            sender.publish(job(number + 10).to(&to("topic:news"))).await.expect("stored");
        }
    };
    let starting = async {
        let broker = place.broker().await;
        *here.0.lock().unwrap() = broker.local();
        broker
    };
    let ((), _broker) = in_time("published", async { tokio::join!(publishing, starting) }).await;
    for number in 2..5 {
        let message = next(&mut inbox, "job:new").await;
        assert_eq!((message.payload::<u32>().expect("a number"), message.redelivered), (number, 0));
        assert_eq!(next(&mut news, "job:new").await.payload::<u32>().expect("a number"), number + 10);
    }
    assert!(reader.positions().await.expect("open").contains_key("topic:news"));
}

#[actix_rt::test]
async fn unacknowledged_messages_are_redelivered_and_marked() {
    let place = Place::new();
    let broker = place.broker().await;
    let here = Here(Arc::new(Mutex::new(broker.local())));
    let explicit = Tuning { acks: Acks::Explicit, ..quick() };
    let (sender, mut receipts) = place.agent(&here, "sender", quick());
    let (receiver, mut inbox) = place.agent(&here, "receiver", explicit.clone());
    in_time("open", receiver.opened()).await.expect("open");
    for number in 0..2 {
        sender.publish(job(number).to(&to("agent:receiver")).receipt()).await.expect("stored");
    }
    let first = next(&mut inbox, "job:new").await;
    receiver.acknowledge(first.position.as_ref().expect("durable")).await.expect("open");
    assert_eq!(next(&mut inbox, "job:new").await.redelivered, 0);
    // The receiver hears nothing of its acknowledgement; the sender hears when it is stored.
    assert_eq!(next(&mut receipts, "message:acknowledged").await.correlation_id.as_deref(), Some("0"));
    assert!(in_time("drained", receiver.drain(Duration::from_secs(10))).await);

    let (_receiver, mut inbox) = place.agent(&here, "receiver", explicit);
    let again = next(&mut inbox, "job:new").await;
    assert_eq!((again.payload::<u32>().expect("a number"), again.redelivered), (1, 1));
}

#[actix_rt::test]
async fn a_receiver_that_takes_nothing_bounds_what_waits_and_misses_nothing_durable() {
    let place = Place::new();
    let broker = place.broker().await;
    let here = Here(Arc::new(Mutex::new(broker.local())));
    let (sender, _) = place.agent(&here, "sender", quick());
    let (receiver, mut inbox) = place.agent(&here, "receiver", Tuning { inbox_messages: 4, ..quick() });
    in_time("open", receiver.opened()).await.expect("open");
    for number in 0..100 {
        in_time("stored", sender.publish(job(number).to(&to("agent:receiver")))).await.expect("stored");
    }
    for number in 0..100 {
        assert_eq!(next(&mut inbox, "job:new").await.payload::<u32>().expect("a number"), number);
    }
}
