//! Durable messages while broker, edge, agents and clients are killed at random moments: nothing
//! that was confirmed is lost, nothing comes out of order, no number names two messages. The
//! receiving agent is a process of its own (`receiver`); a reader behind the edge reads a topic and
//! resumes (`feed`).

mod feed;
mod receiver;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};
use std::time::Duration;

use serde_json::{Value, json};

use tokio::sync::Notify;

use self::{feed::Feed, receiver::Receiver};
use crate::harness::{AGENT_KEY, Chance, Credentials, DialError, Ended, Peer, Site, eventually, everyone, request, scaled};

/// The first two are agents, the others clients behind the edge.
const SENDERS: usize = 4;
/// The most unconfirmed messages of an agent. A client waits for each confirmation: when the edge
/// loses its broker, a client's message on its way may be lost, while one that it sends before it
/// hears of that may arrive.
const WINDOW: usize = 16;
/// How long a peer waits before it dials again.
const AGAIN: Duration = Duration::from_millis(10);
/// The longest time from a start to the next kill.
const LIFE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Broker,
    Edge,
    /// Loses its connections and everything it remembers; what it had not seen confirmed may be
    /// lost.
    Sender(usize),
    /// The process of the receiving agent, SIGKILL.
    Receiver,
    /// A reader in a browser, which stores its position in the feed.
    Reader,
}

/// What everyone has seen.
#[derive(Default)]
struct Seen {
    /// The number and the sender's id of each message that was confirmed.
    confirmed: BTreeMap<String, u64>,
    /// The id behind each number, from whoever saw it.
    names: HashMap<u64, String>,
    received: BTreeSet<String>,
    received_numbers: BTreeSet<u64>,
    /// Next expected message of each sender.
    next: [u64; SENDERS],
    /// The unconfirmed messages of each sender when it was killed.
    abandoned: [BTreeSet<u64>; SENDERS],
    redelivered: usize,
    resent: usize,
}

impl Seen {
    fn name(&mut self, seq: u64, id: &str) {
        let known = self.names.entry(seq).or_insert_with(|| id.to_owned());
        assert_eq!(known, id, "number {seq} names two messages");
    }

    fn on_received(&mut self, frame: &Value) {
        assert_eq!(frame["type"], "job:new", "the receiver was told of a loss");
        let (id, seq) = (frame["id"].as_str().expect("an id"), frame["seq"].as_u64().expect("a number"));
        self.name(seq, id);
        let is_new = self.received.insert(id.to_owned());
        let is_new_number = self.received_numbers.insert(seq);
        if frame["redelivered"].is_u64() {
            self.redelivered += 1;
        } else if !is_new {
            // Delivered live, lost before it was stored, and sent again by its sender, which had no
            // confirmation: under another number.
            assert!(is_new_number, "it comes again and does not say so: {frame}");
            self.resent += 1;
        }
        if is_new {
            let (sender, number) = id.split_once('-').expect("sender-number");
            let (sender, number): (usize, u64) = (sender.parse().expect("a number"), number.parse().expect("a number"));
            // A sender that was killed continues with the next number; its unconfirmed messages may
            // be lost, or come by its old connection.
            let (next, abandoned) = (&mut self.next[sender], &self.abandoned[sender]);
            let in_order = (*next..number).all(|missing| abandoned.contains(&missing));
            assert!(in_order && (number >= *next || abandoned.contains(&number)), "of sender {sender}: {number}, not {next}");
            *next = (*next).max(number + 1);
        }
    }
}

#[derive(Clone)]
struct World {
    site: Site,
    clients: Vec<Credentials>,
    /// To be killed.
    killed: Arc<[Notify; SENDERS]>,
    sending: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody has failed")
    }

    /// Dials until the server answers.
    async fn dial(&self, who: &str, client: Option<&Credentials>) -> Peer {
        loop {
            let dialled = match client {
                Some(client) => self.site.dial_session(client, "?agent=worker").await,
                None => Peer::dial(self.site.broker, &format!("/ws/agent?agent_id={who}"), AGENT_KEY).await,
            };
            match dialled {
                Ok(peer) => return peer,
                Err(DialError::Broken | DialError::Refused(503)) => tokio::time::sleep(AGAIN).await,
                Err(refused) => panic!("{who}: {refused:?}"),
            }
        }
    }

    /// Sends, and sends again what was not confirmed when the connection was lost.
    async fn send(self, sender: usize) {
        let (mut made, mut open) = (0_u64, BTreeSet::new());
        let client = sender.checked_sub(SENDERS - self.clients.len()).and_then(|index| self.clients.get(index));
        while self.sending.load(Relaxed) || !open.is_empty() {
            let mut peer = self.dial(&format!("sender{sender}"), client).await;
            tokio::select! {
                _ = self.send_over(&mut peer, sender, &mut made, &mut open) => {}
                () = self.killed[sender].notified() => {
                    self.seen().abandoned[sender].extend(&open);
                    open.clear();
                }
            }
        }
    }

    async fn send_over(&self, peer: &mut Peer, sender: usize, made: &mut u64, open: &mut BTreeSet<u64>) -> Result<(), Ended> {
        let window = if sender < SENDERS - self.clients.len() { WINDOW } else { 1 };
        let mut is_connected = false;
        loop {
            while is_connected && open.len() < window && self.sending.load(Relaxed) {
                // Before it is sent: a sender that is killed meanwhile does not know whether it
                // was.
                open.insert(*made);
                *made += 1;
                peer.try_send(message(sender, *made - 1)).await?;
            }
            if open.is_empty() && !self.sending.load(Relaxed) {
                return Ok(());
            }
            let frame = peer.receive().await?;
            let about = frame["correlation_id"].as_str().and_then(|id| id.split_once('-'));
            let about = about.and_then(|(_, number)| number.parse::<u64>().ok());
            match frame["type"].as_str() {
                // Also when an edge has its broker back: unconfirmed messages may be lost.
                Some("connection:ack") => {
                    is_connected = true;
                    for number in open.iter() {
                        peer.try_send(message(sender, *number)).await?;
                    }
                }
                Some("message:accepted") => {
                    let id = frame["correlation_id"].as_str().expect("an id");
                    let seq = frame["payload"]["seq"].as_u64().expect("a number");
                    let mut seen = self.seen();
                    seen.name(seq, id);
                    seen.confirmed.insert(id.to_owned(), seq);
                    open.remove(&about.expect("sender-number"));
                    self.confirmed.fetch_add(1, Relaxed);
                }
                Some("message:expired") => panic!("given up: {frame}"),
                Some("system:error") => {
                    assert_eq!(frame["payload"]["temporary"], true, "{frame}");
                    // From the beginning, so that the order stays.
                    return Err(Ended::Broken);
                }
                _ => {}
            }
        }
    }

    /// A receiver whose messages are checked as they come.
    fn receiver(&self) -> Receiver {
        let seen = Arc::clone(&self.seen);
        Receiver::start(self.site.broker, move |frame| seen.lock().expect("nobody has failed").on_received(frame))
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
async fn no_confirmed_message_is_lost_when_any_process_is_killed() {
    let rounds = scaled(8, 200);
    let mut chance = Chance::from_environment("durable kills");
    // A receiver that got a message and died before its acknowledgement was stored gets it again
    // soon.
    let site = Site::new().with("store.ack_timeout", "500ms").with("store.max_deliveries", "1000");
    // A receiver that is killed so often may fall behind by more than an inbox holds: messages that
    // are given up would then look lost.
    let site = site.with("store.inbox_messages", "0").with("store.inbox_bytes", "0");
    let operator = "the-operator-of-durable-kills-and-nobody-else";
    let site = site.with("broker.operator_token", operator);
    let mut broker = site.broker_alone().await;
    let mut edge = site.edge_alone().await;
    // A client may leave messages for an agent that the bridge has seen.
    site.agent("worker").await;
    let world = World {
        site: site.clone(),
        clients: vec![site.register().await, site.register().await],
        killed: Arc::default(),
        sending: Arc::new(AtomicBool::new(true)),
        confirmed: Arc::default(),
        seen: Arc::default(),
    };
    let mut receiver = world.receiver();
    let feed = Feed {
        site: site.clone(),
        reader: site.register().await,
        killed: Arc::default(),
        writing: Arc::new(AtomicBool::new(true)),
        reading: Arc::new(AtomicBool::new(true)),
        seen: Arc::default(),
    };
    let (writing, reading) = (tokio::spawn(feed.clone().write()), tokio::spawn(feed.clone().read()));
    let sending = tokio::spawn(everyone((0..SENDERS).map(|sender| world.clone().send(sender)).collect::<Vec<_>>()));
    // From now on the reader has a position, with which it resumes when it is killed.
    eventually("something of the feed is read", async || feed.seen().next > 0).await;
    let mut kills = [0_usize; 5];
    for round in 0..rounds {
        let before = world.confirmed.load(Relaxed);
        eventually("messages are confirmed", async || world.confirmed.load(Relaxed) > before + SENDERS).await;
        tokio::time::sleep(chance.duration(LIFE)).await;
        let kind = if round < kills.len() { round } else { chance.below(kills.len()) };
        kills[kind] += 1;
        match [Victim::Broker, Victim::Edge, Victim::Sender(chance.below(SENDERS)), Victim::Receiver, Victim::Reader][kind] {
            Victim::Broker => {
                broker.kill();
                broker = site.broker_alone().await;
            }
            Victim::Edge => {
                edge.kill();
                edge = site.edge_alone().await;
            }
            Victim::Sender(sender) => world.killed[sender].notify_one(),
            Victim::Receiver => {
                receiver.kill();
                receiver = world.receiver();
            }
            Victim::Reader => feed.killed.notify_one(),
        }
    }
    world.sending.store(false, Relaxed);
    sending.await.expect("everything is confirmed");
    eventually("everything confirmed is received", async || {
        let seen = world.seen();
        seen.confirmed.keys().all(|id| seen.received.contains(id))
    })
    .await;
    receiver.kill();
    feed.writing.store(false, Relaxed);
    writing.await.expect("everything of the feed is confirmed");
    eventually("everything of the feed is read, by a reader that has resumed", async || {
        let seen = feed.seen();
        seen.resumed > 0 && seen.confirmed.keys().next_back().is_none_or(|last| seen.next > *last)
    })
    .await;
    feed.reading.store(false, Relaxed);
    reading.await.expect("the feed comes whole and in order");
    // Nothing was given up: what is not lost is not among the dead letters either.
    let dead =
        request(site.broker, "GET", "/api/v1/channels/dead:agent:worker/history", Some(operator)).await.expect("an answer");
    assert!(dead.json["messages"].as_array().is_some_and(Vec::is_empty), "{}", dead.json);
    let (seen, [brokers, edges, senders, receivers, readers]) = (world.seen(), kills);
    let feed = feed.seen();
    println!(
        "{rounds} kills ({brokers} of the broker, {edges} of the edge, {senders} of senders, {receivers} of the receiver, {readers} of the reader): \
         {} confirmed, 0 lost, 0 out of order, {} redelivered, {} sent again unconfirmed; of the feed {} confirmed, 0 lost, {} redelivered, {} sent \
         again unconfirmed, {} resumptions, {} of them from a message that was never stored",
        seen.confirmed.len(),
        seen.redelivered,
        seen.resent,
        feed.confirmed.len(),
        feed.redelivered,
        feed.resent,
        feed.resumed,
        feed.unstored
    );
}
