//! Durable messages while the broker is killed at random moments: nothing that was confirmed is lost, nothing comes out of order, no number
//! names two messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{AGENT_KEY, Chance, Ended, Peer, Site, eventually, everyone, scaled};

const SENDERS: usize = 4;
/// Messages of a sender that are not confirmed yet, at most.
const WINDOW: usize = 16;
/// How long a peer waits before it dials again.
const AGAIN: Duration = Duration::from_millis(10);
/// The longest time from a start to the next kill.
const LIFE: Duration = Duration::from_millis(250);

/// What everyone has seen.
#[derive(Default)]
struct Seen {
    /// The number and the sender's id of each message that was confirmed.
    confirmed: BTreeMap<String, u64>,
    /// The id behind each number, from whoever saw it.
    names: HashMap<u64, String>,
    received: BTreeSet<String>,
    /// Next expected message of each sender.
    next: [u64; SENDERS],
    redelivered: usize,
    resent: usize,
}

impl Seen {
    fn name(&mut self, seq: u64, id: &str) {
        let known = self.names.entry(seq).or_insert_with(|| id.to_owned());
        assert_eq!(known, id, "number {seq} names two messages");
    }

    fn on_received(&mut self, frame: &Value) -> u64 {
        let (id, seq) = (frame["id"].as_str().expect("an id"), frame["seq"].as_u64().expect("a number"));
        self.name(seq, id);
        let is_new = self.received.insert(id.to_owned());
        if frame["redelivered"].is_u64() {
            self.redelivered += 1;
        } else if !is_new {
            // Delivered live, lost before it was stored, and sent again by its sender, who had no confirmation.
            self.resent += 1;
        }
        if is_new {
            let (sender, number) = id.split_once('-').expect("sender-number");
            let next = &mut self.next[sender.parse::<usize>().expect("a number")];
            assert_eq!(number, next.to_string(), "of sender {sender}");
            *next += 1;
        }
        seq
    }
}

#[derive(Clone)]
struct World {
    site: Site,
    sending: Arc<AtomicBool>,
    running: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody has failed")
    }

    async fn dial(&self, path: &str) -> Peer {
        loop {
            match Peer::dial(self.site.broker, path, AGENT_KEY).await {
                Ok(peer) => return peer,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Sends, and sends again what was not confirmed when the connection was lost.
    async fn send(self, sender: usize) {
        let (mut made, mut open) = (0_u64, BTreeSet::new());
        while self.sending.load(Relaxed) || !open.is_empty() {
            let mut peer = self.dial(&format!("/ws/agent?agent_id=sender{sender}")).await;
            let _ = self.send_over(&mut peer, sender, &mut made, &mut open).await;
        }
    }

    async fn send_over(&self, peer: &mut Peer, sender: usize, made: &mut u64, open: &mut BTreeSet<u64>) -> Result<(), Ended> {
        for number in open.iter() {
            peer.try_send(message(sender, *number)).await?;
        }
        loop {
            while open.len() < WINDOW && self.sending.load(Relaxed) {
                open.insert(*made);
                *made += 1;
                peer.try_send(message(sender, *made - 1)).await?;
            }
            if open.is_empty() {
                return Ok(());
            }
            let frame = peer.receive().await?;
            if frame["type"] == "message:accepted" {
                let (id, seq) =
                    (frame["correlation_id"].as_str().expect("an id"), frame["payload"]["seq"].as_u64().expect("a number"));
                let mut seen = self.seen();
                seen.name(seq, id);
                seen.confirmed.insert(id.to_owned(), seq);
                open.remove(&id.split_once('-').expect("sender-number").1.parse().expect("a number"));
                self.confirmed.fetch_add(1, Relaxed);
            }
        }
    }

    /// Receives and acknowledges; dies with every few hundred messages, as receivers do.
    async fn receive(self) {
        while self.running.load(Relaxed) {
            let mut peer = self.dial("/ws/agent?agent_id=worker&ack=explicit").await;
            for _ in 0..500 {
                let frame = tokio::select! {
                    frame = peer.receive() => frame,
                    () = until(&self.running) => return,
                };
                let Ok(frame) = frame else { break };
                if frame["type"] == "job:new" {
                    let seq = self.seen().on_received(&frame);
                    let ack = json!({"type":"message:ack","payload":{"seqs":[seq]}});
                    if peer.try_send(ack).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
}

async fn until(running: &AtomicBool) {
    while running.load(Relaxed) {
        tokio::time::sleep(AGAIN).await;
    }
}

fn message(sender: usize, number: u64) -> Value {
    json!({"type":"job:new","id":format!("{sender}-{number}"),"target":"agent:worker","delivery":"durable","payload":number})
}

#[tokio::test]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let rounds = scaled(3, 200);
    let mut chance = Chance::from_environment("durable kills");
    // A receiver that got a message and died before its acknowledgement was stored gets it again soon.
    let site = Site::new().with("store.ack_timeout", "500ms").with("store.max_deliveries", "1000");
    let world = World {
        site: site.clone(),
        sending: Arc::new(AtomicBool::new(true)),
        running: Arc::new(AtomicBool::new(true)),
        confirmed: Arc::default(),
        seen: Arc::default(),
    };
    let mut broker = site.broker_alone().await;
    let receiving = tokio::spawn(world.clone().receive());
    let sending = tokio::spawn(everyone((0..SENDERS).map(|sender| world.clone().send(sender)).collect::<Vec<_>>()));
    for _ in 0..rounds {
        let before = world.confirmed.load(Relaxed);
        eventually("messages are confirmed", async || world.confirmed.load(Relaxed) > before + SENDERS).await;
        tokio::time::sleep(chance.duration(LIFE)).await;
        broker.kill();
        broker = site.broker_alone().await;
    }
    world.sending.store(false, Relaxed);
    sending.await.expect("everything is confirmed");
    eventually("everything confirmed is received", async || {
        let seen = world.seen();
        seen.confirmed.keys().all(|id| seen.received.contains(id))
    })
    .await;
    world.running.store(false, Relaxed);
    receiving.await.expect("no number names two messages, and each sender's come in order");
    let seen = world.seen();
    println!(
        "{rounds} kills: {} confirmed, 0 lost, 0 out of order, {} redelivered, {} sent again unconfirmed",
        seen.confirmed.len(),
        seen.redelivered,
        seen.resent
    );
}
