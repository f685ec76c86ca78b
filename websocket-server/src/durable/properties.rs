//! Channels against a naive model. Whatever the history of publishing, reading, stalling, leaving
//! and coming back: a reader of a log that names its position gets every message after it, once, in
//! order; and an inbox loses nothing that was not acknowledged.
//!
//! Everything except the sockets is real: the store in memory, the channels, the catch-ups, the
//! outboxes with their bounds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    assertion::{Acks, Prefetch, Reading},
    config::Settings,
    envelope::{Priority, Retain},
    error::ErrorCode,
    id::{AgentId, SessionId},
    message::Start,
};
use proptest::prelude::*;
use serde_json::Value;
use store::{Ack, Appended, ChannelName, DeadReason, MemoryStore, NewRecord, StoreError, StoreOptions};
use transport::{Lane, Link, LinkPolicy, flow::FlowPolicy};

use super::{Accepted, CatchUp, Channels, Draft, Outcome, Outstanding, refusal_of};
use crate::peers::{ConnectionId, Peer, PeerKind};

const READERS: usize = 3;
/// A few messages fit a reader's outbox.
const OUTBOX: usize = 1500;

#[derive(Clone, Debug)]
enum Step {
    /// Publishes so many messages.
    Publish(usize),
    /// A reader connects, if it is not connected.
    Come(usize),
    /// A reader reads what waits for it.
    Read(usize),
    /// A reader's connection breaks; what it has not read is lost.
    Break(usize),
    /// A reader of an inbox acknowledges what it has read.
    Acknowledge,
    /// Others get their turn: the store answers, catch-ups continue.
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reader = 0..READERS;
    let step = prop_oneof![
        4 => (1..12_usize).prop_map(Step::Publish),
        3 => reader.clone().prop_map(Step::Come),
        4 => reader.clone().prop_map(Step::Read),
        2 => reader.prop_map(Step::Break),
        1 => Just(Step::Acknowledge),
        4 => Just(Step::Rest),
    ];
    prop::collection::vec(step, 1..60)
}

/// A reader, and what it has got.
#[derive(Default)]
struct Reader {
    peer: Option<Arc<Peer>>,
    got: Vec<u64>,
    /// Those of them that came on this connection.
    here: BTreeSet<u64>,
    /// Numbers that came again without a mark.
    unmarked: Vec<u64>,
}

impl Reader {
    fn read(&mut self) {
        let Some(peer) = &self.peer else { return };
        for frame in peer.link.drain() {
            // Marks are not messages.
            let Ok(value) = serde_json::from_str::<Value>(frame.payload_text()) else { continue };
            let seq = value["seq"].as_u64().expect("a position");
            if self.got.contains(&seq) && value["redelivered"] == Value::Null {
                self.unmarked.push(seq);
            }
            self.got.push(seq);
            self.here.insert(seq);
        }
    }

    fn position(&self) -> u64 {
        self.got.last().copied().unwrap_or(0)
    }
}

/// Does what is done when the store has answered for a message.
fn confirm(
    channels: &Channels,
    message: &Outstanding,
    answer: Result<Vec<Appended>, StoreError>,
) -> Result<Appended, StoreError> {
    let appended = answer.map(|answers| answers.into_iter().next().expect("an answer"));
    channels.on_answer(message, &appended.as_ref().map(Appended::seq).map_err(Clone::clone));
    appended
}

struct World {
    channels: Arc<Channels>,
    /// How readers read.
    reading: Reading,
    channel: ChannelName,
    policy: Arc<LinkPolicy>,
    readers: Vec<Reader>,
    published: Vec<u64>,
    acknowledged: BTreeSet<u64>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl World {
    async fn new(channel: &str) -> Self {
        Self::with(StoreOptions::default(), channel).await
    }

    async fn with(options: StoreOptions, channel: &str) -> Self {
        let store = Arc::new(MemoryStore::new(options).expect("a store"));
        let channels = Channels::open(store, Duration::from_secs(30), 1000).await.expect("opens");
        let mut policy = Arc::into_inner(crate::links::link_policy(&Settings::for_tests())).expect("the only one");
        policy.outbox_bytes = OUTBOX;
        policy.flow = FlowPolicy { burst_ms: 0, share: 0.0 };
        let channel = ChannelName::parse(channel).expect("a channel");
        channels.load(channel.clone()).await.expect("loads");
        let readers = (0..READERS).map(|_| Reader::default()).collect();
        let reading = Reading::default();
        Self {
            channels,
            reading,
            channel,
            policy: Arc::new(policy),
            readers,
            published: Vec::new(),
            acknowledged: BTreeSet::new(),
            failed: Arc::default(),
        }
    }

    fn start(catch_up: CatchUp) {
        actix_rt::spawn(catch_up.run(|_, _| (), |_| ()));
    }

    fn accept(&self, id: &str) -> Box<Accepted> {
        let text = format!("{{\"source\":\"agent:p\",\"id\":\"{id}\",\"type\":\"x:y\"}}");
        let draft = Draft {
            channel: &self.channel,
            text: &text,
            id,
            source: "agent:p",
            priority: Priority::Normal,
            lane: Lane::Normal,
            ttl_ms: None,
            retain: Retain::No,
            receipt: false,
            owner: None,
            own: None,
        };
        let peers: Vec<_> = self.readers.iter().filter_map(|reader| reader.peer.clone()).collect();
        let Ok(Outcome::Accepted(accepted)) = self.channels.accept(draft, peers.iter()) else { panic!("not accepted") };
        accepted
    }

    fn publish(&mut self) {
        let mut accepted = self.accept(&format!("m{}", self.published.len()));
        self.published.push(accepted.outstanding.seq);
        std::mem::take(&mut accepted.fell_behind).into_iter().for_each(Self::start);
        let Accepted { outstanding, committed, .. } = *accepted;
        let (channels, failed) = (Arc::clone(&self.channels), Arc::clone(&self.failed));
        actix_rt::spawn(async move {
            let confirmed = confirm(&channels, &outstanding, committed.await);
            if !matches!(confirmed, Ok(Appended::Stored { seq, .. }) if seq == outstanding.seq) {
                failed.lock().expect("lock").push(format!("{confirmed:?}"));
            }
        });
    }

    async fn come(&mut self, at: usize) {
        let is_inbox = self.channel.family().is_inbox();
        if self.readers[at].peer.is_some() {
            return;
        }
        let kind = PeerKind::Agent(AgentId::new("r").expect("a name"));
        let link = Link::new(Arc::clone(&self.policy));
        let peer = Peer::new(ConnectionId::next(), kind, link, self.reading.clone(), None, Default::default());
        let after = if is_inbox {
            0
        } else {
            let start = Start::After { epoch: None, seq: self.readers[at].position() };
            let place = self.channels.locate(&self.channel, &start).await.expect("located");
            assert!(place.recovery.recovered, "nothing was removed");
            place.after
        };
        // Between the two nobody else has a turn, as under the router's lock.
        Self::start(self.channels.fall_behind(&self.channel, &peer, after));
        self.readers[at].peer = Some(peer);
        self.readers[at].here.clear();
    }

    fn leave(&mut self, at: usize) {
        if let Some(peer) = self.readers[at].peer.take() {
            peer.link.kill();
            peer.link.drain();
        }
    }

    async fn rest() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Acknowledges all that was read.
    async fn acknowledge(&mut self) {
        let seqs: Vec<_> = self.readers.iter().flat_map(|reader| reader.got.clone()).collect();
        let ack = Ack::Each(seqs.clone());
        self.channels.ack(self.channel.clone(), ack.clone()).await.expect("acknowledged");
        for peer in self.readers.iter().filter_map(|reader| reader.peer.as_ref()) {
            peer.settle(&self.channel, &ack);
        }
        self.acknowledged.extend(seqs);
    }

    /// Everybody connects and reads until nothing comes any more.
    async fn finish(&mut self) {
        for at in 0..READERS {
            self.come(at).await;
        }
        let mut quiet = 0;
        while quiet < 50 {
            let before: usize = self.readers.iter().map(|reader| reader.got.len()).sum();
            self.readers.iter_mut().for_each(Reader::read);
            tokio::time::sleep(Duration::from_millis(5)).await;
            let after: usize = self.readers.iter().map(|reader| reader.got.len()).sum();
            quiet = if after == before { quiet + 1 } else { 0 };
        }
        assert_eq!(*self.failed.lock().expect("lock"), Vec::<String>::new(), "everything is confirmed");
    }

    /// All receivers come, read and acknowledge.
    async fn finish_step(&mut self) {
        for at in 0..READERS {
            self.come(at).await;
        }
        Self::rest().await;
        self.readers.iter_mut().for_each(Reader::read);
        self.acknowledge().await;
    }

    async fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Publish(count) => (0..count).for_each(|_| self.publish()),
                Step::Come(at) => self.come(at).await,
                Step::Read(at) => self.readers[at].read(),
                Step::Break(at) => self.leave(at),
                Step::Acknowledge => self.acknowledge().await,
                Step::Rest => Self::rest().await,
            }
        }
    }
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        work.await
    })
}

#[test]
fn a_later_way_back_ends_the_earlier_and_one_that_is_dropped_is_over() {
    in_runtime(async {
        let mut world = World::new("topic:t").await;
        world.publish();
        World::rest().await;
        let link = Link::new(Arc::clone(&world.policy));
        let kind = PeerKind::Agent(AgentId::new("r").expect("a name"));
        let peer = Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default());
        let earlier = world.channels.fall_behind(&world.channel, &peer, 0);
        let later = world.channels.fall_behind(&world.channel, &peer, 0);
        assert_eq!((earlier.run(|_, _| (), |_| ()).await, peer.link.drain().len()), (0, 0));
        assert!(!world.channels.is_live(&world.channel, peer.id));
        assert_eq!((later.run(|_, _| (), |_| ()).await, peer.link.drain().len()), (world.published[0], 1));
        assert!(world.channels.is_live(&world.channel, peer.id));
        drop(world.channels.fall_behind(&world.channel, &peer, 0));
        assert!(world.channels.is_live(&world.channel, peer.id));
    });
}

#[test]
fn who_falls_behind_in_a_new_channel_that_the_store_lacks_is_not_told_of_a_loss() {
    in_runtime(async {
        let world = World::new("topic:t").await;
        let machine = world.channels.machine(&world.channel);
        machine.lock().push(5);
        // It has 5, which is on its way to the disk. Nobody has accepted 6.
        for (given, told) in [(5, 0), (6, 1)] {
            let link = Link::new(Arc::clone(&world.policy));
            let kind = PeerKind::Agent(AgentId::new("r").expect("a name"));
            let peer = Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default());
            world.channels.fall_behind(&world.channel, &peer, given).run(|_, _| (), |_| ()).await;
            let lost = peer.link.drain();
            assert_eq!(lost.len(), told, "{given}");
            assert!(lost.iter().all(|frame| frame.payload_text().contains("system:lost")), "{given}");
        }
    });
}

#[test]
fn a_message_repeated_after_the_store_refused_it_reaches_live_readers() {
    in_runtime(async {
        // A session that can be forgotten takes the only place for a channel.
        let mut world = World::with(StoreOptions { max_channels: 1, ..StoreOptions::default() }, "topic:t").await;
        let store = Arc::clone(world.channels.store());
        let session = SessionId::fresh();
        let taken = NewRecord {
            channel: ChannelName::session(session),
            seq: store.reserve(1).await.expect("a number").start,
            prev: 0,
            message_id: "taken".to_owned(),
            source: "agent:p".to_owned(),
            key: None,
            frame: "{}".into(),
            priority: Priority::Normal,
            expires_at: None,
            stored_at: 1,
            delivery: None,
            owner: None,
            is_charged: false,
        };
        store.append(vec![taken]).await.expect("stored");
        store.put_session(session, 1).await.expect("stored");
        world.come(0).await;
        World::rest().await;

        let first = world.accept("again");
        let (first, refused) = (first.outstanding, first.committed.await);
        store.forget_sessions(2, 2, 10).await.expect("there is room now");
        world.readers[0].read();
        world.readers[0].got.clear();

        // The sender repeats the message before the broker knows that the store has refused the
        // first one, and again when it does.
        let repeated = world.accept("again");
        let confirmed = confirm(&world.channels, &first, refused);
        assert!(confirmed.is_err_and(|error| refusal_of(&error).code == ErrorCode::StoreUnavailable));
        let mut confirmed = Vec::new();
        let later = [repeated, world.accept("again"), world.accept("again"), world.accept("next")];
        for accepted in later {
            let message = accepted.outstanding;
            match confirm(&world.channels, &message, accepted.committed.await) {
                Ok(Appended::Stored { seq, .. }) => confirmed.push(seq),
                Ok(Appended::Duplicate { seq }) => assert!(confirmed.contains(&seq), "{seq} {confirmed:?}"),
                Err(_) => {}
            }
        }
        world.readers[0].read();
        assert_eq!((confirmed.len(), &world.readers[0].got), (2, &confirmed), "each once, in order");
        // A later reader finds the same in the store.
        world.come(1).await;
        World::rest().await;
        world.readers[1].read();
        assert_eq!(world.readers[1].got, confirmed);
    });
}

#[test]
fn a_message_for_a_session_that_is_just_being_forgotten_waits_for_it() {
    in_runtime(async {
        let session = SessionId::fresh();
        let mut world = World::new(&format!("session:{session}")).await;
        let channels = Arc::clone(&world.channels);
        world.publish();
        World::rest().await;

        // The store has forgotten the session, the broker does not know it yet, and a message
        // arrives.
        let mut forgetting = channels.begin_forgetting();
        let answer = forgetting.step(u64::MAX, 1, 100);
        world.publish();
        World::rest().await;
        let step = answer.await.expect("forgotten");
        assert_eq!(step.sessions, [session]);
        let dead: Vec<_> = step.dead_lettered.iter().map(|letter| (letter.seq, letter.reason)).collect();
        assert_eq!(dead, [(world.published[0], DeadReason::ReceiverForgotten)]);
        forgetting.forget(&step.sessions, 1);
        drop(forgetting);
        World::rest().await;
        assert!(channels.may_have_pending(&world.channel), "who comes looks for it");
        let pending = channels.pending_after(&world.channel, 0, usize::MAX, u64::MAX).await.expect("read");
        assert_eq!(pending.iter().map(|pending| pending.record.seq).collect::<Vec<_>>(), world.published[1..]);

        // It is forgotten again some day. What was there before goes with it, also from memory.
        let mut forgetting = channels.begin_forgetting();
        let step = forgetting.step(u64::MAX, 1, 100).await.expect("forgotten");
        assert_eq!((step.sessions.as_slice(), step.dead_lettered.len()), (&[session][..], 1));
        forgetting.forget(&step.sessions, 1);
        drop(forgetting);
        let remembered = channels.remembered();
        assert_eq!((remembered.pending, remembered.sessions), (0, 0));
    });
}

proptest! {
    #[test]
    fn every_reader_of_a_log_gets_everything_once_and_in_order(steps in steps()) {
        in_runtime(async {
            let mut world = World::new("topic:t").await;
            world.run(steps).await;
            world.finish().await;
            for reader in &world.readers {
                assert_eq!(reader.got, world.published);
            }
        });
    }

    #[test]
    fn explicit_readers_of_an_inbox_hold_no_more_than_their_places_and_get_everything(steps in steps(), places in 1..5_u16) {
        in_runtime(async {
            let mut world = World::new("agent:r").await;
            let prefetch = Prefetch::new(places).expect("in bounds");
            world.reading = Reading { acks: Acks::Explicit, prefetch, ..Reading::default() };
            for step in steps {
                world.run(vec![step]).await;
                for reader in &world.readers {
                    let held = reader.here.difference(&world.acknowledged).count();
                    assert!(held <= usize::from(places), "{:?}", reader.here);
                }
            }
            let mut quiet = 0;
            while quiet < 50 {
                world.finish_step().await;
                let pending = world.channels.pending_after(&world.channel, 0, 1, u64::MAX).await.expect("read");
                quiet = if pending.is_empty() { quiet + 1 } else { 0 };
            }
            let got: BTreeSet<_> = world.readers.iter().flat_map(|reader| reader.got.iter().copied()).collect();
            assert_eq!(got, world.published.iter().copied().collect::<BTreeSet<_>>());
            for reader in &world.readers {
                assert_eq!(reader.unmarked, Vec::<u64>::new());
                let peer = reader.peer.as_ref().expect("there");
                assert_eq!(peer.places(), usize::from(places), "every place is free again");
            }
        });
    }

    #[test]
    fn an_inbox_loses_nothing_and_repeats_only_what_it_marks(steps in steps()) {
        in_runtime(async {
            let mut world = World::new("agent:r").await;
            world.run(steps).await;
            world.finish().await;
            let got: BTreeSet<_> = world.readers.iter().flat_map(|reader| reader.got.iter().copied()).collect();
            assert_eq!(got, world.published.iter().copied().collect::<BTreeSet<_>>());
            for reader in &world.readers {
                assert_eq!(reader.unmarked, Vec::<u64>::new());
                let missing = world.published.iter().find(|seq| !reader.got.contains(seq) && !world.acknowledged.contains(seq));
                assert_eq!(missing, None, "everybody who reads the inbox gets what nobody has acknowledged");
            }
        });
    }
}
