//! A durable topic beside the inbox. One agent writes to it, and a reader in a browser is killed
//! like everybody else and comes back with nothing but its position.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::AGAIN;
use crate::harness::{AGENT_KEY, Credentials, DialError, Ended, Peer, Site};

const TOPIC: &str = "topic:feed";

#[derive(Clone)]
pub struct Feed {
    pub site: Site,
    pub reader: Credentials,
    pub killed: Arc<Notify>,
    pub writing: Arc<AtomicBool>,
    pub reading: Arc<AtomicBool>,
    pub seen: Arc<Mutex<Seen>>,
}

/// What writer and reader have seen.
#[derive(Default)]
pub struct Seen {
    /// The number under which each message was confirmed.
    pub confirmed: BTreeMap<u64, u64>,
    /// The message behind each number.
    names: HashMap<u64, u64>,
    /// The numbers that the reader has got.
    read: HashSet<u64>,
    /// The next message that the reader expects.
    pub next: u64,
    /// The position from which the reader continues.
    position: Option<Value>,
    pub redelivered: usize,
    pub resent: usize,
    /// Answers to `connection:resume`: the first time, without a position, it subscribes.
    pub resumed: usize,
    /// Resumptions from a message that was never stored.
    pub unstored: usize,
}

impl Seen {
    fn name(&mut self, seq: u64, message: u64) {
        let known = *self.names.entry(seq).or_insert(message);
        assert_eq!(known, message, "number {seq} names two messages of the feed");
    }

    fn on_read(&mut self, frame: &Value) {
        let (message, seq) = (frame["payload"].as_u64().expect("a message"), frame["seq"].as_u64().expect("a number"));
        self.name(seq, message);
        assert!(
            message <= self.next,
            "messages {} to {} of the feed were passed over: {frame}",
            self.next,
            message.saturating_sub(1)
        );
        let is_new = self.read.insert(seq);
        if frame["redelivered"].is_u64() {
            self.redelivered += 1;
        } else {
            assert!(is_new, "it comes twice and does not say so: {frame}");
            // Delivered live, lost before it was stored, and sent again by its writer, which had no
            // confirmation.
            self.resent += usize::from(message < self.next);
        }
        self.next = self.next.max(message + 1);
        self.position = Some(json!({"epoch":frame["epoch"],"seq":seq}));
    }
}

impl Seen {
    /// Everything follows, also if the reader comes back from a message that was delivered live and
    /// lost before it was stored: the store cannot say that such a position was recovered.
    fn on_found(&mut self, told: &Value) {
        if told["recovered"] != true {
            let position = self.position.as_ref().and_then(|position| position["seq"].as_u64()).expect("a position");
            assert!(told["from"].as_u64() < Some(position), "not recovered: {told}");
            assert!(!self.confirmed.values().any(|seq| *seq == position), "what was confirmed is not known: {told}");
            self.unstored += 1;
        }
    }
}

impl Feed {
    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody has failed")
    }

    /// Writes one message after the other, each until it is confirmed.
    pub async fn write(self) {
        let mut number = 0_u64;
        while self.writing.load(Relaxed) {
            let Ok(mut peer) = Peer::dial(self.site.broker, "/ws/agent?agent_id=writer", AGENT_KEY).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            while self.writing.load(Relaxed) {
                let id = format!("feed-{number}");
                let message = json!({"type":"feed:item","id":id,"target":TOPIC,"delivery":"durable","payload":number});
                if peer.try_send(message).await.is_err() {
                    break;
                }
                let Ok(answer) = answer_to(&mut peer, &id).await else { break };
                if answer["type"] != "message:accepted" {
                    assert_eq!(answer["payload"]["temporary"], true, "{answer}");
                    break;
                }
                let seq = answer["payload"]["seq"].as_u64().expect("a number");
                let mut seen = self.seen();
                seen.name(seq, number);
                seen.confirmed.insert(number, seq);
                number += 1;
            }
        }
    }

    /// Reads. Whenever it was killed, it comes back with its position, and asks for what came after
    /// it.
    pub async fn read(self) {
        while self.reading.load(Relaxed) {
            let mut peer = match self.site.dial_session(&self.reader, "?resume=true").await {
                Ok(peer) => peer,
                Err(DialError::Broken | DialError::Refused(503)) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(refused) => panic!("the reader: {refused:?}"),
            };
            tokio::select! {
                _ = self.read_over(&mut peer) => {}
                () = self.killed.notified() => {}
                () = super::until(&self.reading) => return,
            }
        }
    }

    async fn read_over(&self, peer: &mut Peer) -> Result<(), Ended> {
        let mut is_answered = false;
        loop {
            let frame = peer.receive().await?;
            match frame["type"].as_str() {
                // Later ones come from the edge, which has its broker back and has restored the
                // subscription, if there was one.
                Some("connection:ack") if !is_answered => {
                    let position = self.seen().position.clone();
                    let ask = match &position {
                        Some(position) => json!({"type":"connection:resume","id":"back","payload":{"channels":{TOPIC:position}}}),
                        None => json!({"type":"topic:subscribe","id":"first","payload":{"topic":TOPIC,"from":{"seq":0}}}),
                    };
                    peer.try_send(ask).await?;
                }
                Some("connection:resumed" | "topic:subscribed") => {
                    let is_resumed = frame["type"] == "connection:resumed";
                    let told = if is_resumed { &frame["payload"]["channels"][TOPIC] } else { &frame["payload"] };
                    // Broadcasts are restored too.
                    if told.is_object() {
                        assert!(told["lost"].is_null(), "something is lost: {frame}");
                        // Without a correlation id, it is what was restored for the page that lost
                        // its socket.
                        if !frame["correlation_id"].is_null() {
                            is_answered = true;
                            let mut seen = self.seen();
                            seen.resumed += usize::from(is_resumed);
                            seen.on_found(told);
                        }
                    }
                }
                Some("feed:item") => self.seen().on_read(&frame),
                Some("system:lost") => panic!("the reader lost something: {frame}"),
                Some("system:error") => {
                    assert_eq!(frame["payload"]["temporary"], true, "{frame}");
                    return Err(Ended::Broken);
                }
                _ => {}
            }
        }
    }
}

async fn answer_to(peer: &mut Peer, id: &str) -> Result<Value, Ended> {
    loop {
        let frame = peer.receive().await?;
        if frame["correlation_id"] == id {
            return Ok(frame);
        }
    }
}
