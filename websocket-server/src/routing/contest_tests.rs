use std::sync::Arc;

use common::{
    assertion::{ClientIdentity, Reading},
    close::CloseCode,
    config::Settings,
    id::{AgentId, SessionId},
    message::AgentDescription,
    rate::Rate,
};
use identity::policy::Policy;
use proptest::prelude::*;
use serde_json::{Value, json};
use transport::Link;

use super::{
    Attached, Router, RouterLimits,
    notice_pace::{NOTICE_BURST, NOTICE_PAUSE_MS},
};
use crate::peers::{ConnectionId, Peer, PeerKind};

fn router() -> Router {
    let limits = RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED };
    Router::new(limits, Policy::open())
}

fn peer(kind: PeerKind) -> Arc<Peer> {
    let link = Link::new(crate::links::link_policy(&Settings::for_tests()));
    Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default())
}

fn agent(name: &str) -> Arc<Peer> {
    peer(PeerKind::Agent(AgentId::new(name).expect("a name")))
}

fn session() -> Arc<Peer> {
    peer(PeerKind::Session(Box::new(ClientIdentity::anonymous(SessionId::fresh()))))
}

fn attach(router: &mut Router, peer: &Arc<Peer>, now_ms: u64) -> Attached {
    router.attach(peer, AgentDescription::default(), now_ms)
}

fn is_called_in(peer: &Peer) -> bool {
    use futures_util::FutureExt;
    peer.called_in().now_or_never().is_some()
}

/// An agent that was taken over as often as is free, at 0 ms: its first connection, and its last
/// one.
fn contested(router: &mut Router) -> Arc<Peer> {
    let peers: [_; 6] = std::array::from_fn(|_| agent("a"));
    for peer in &peers {
        assert!(matches!(attach(router, peer, 0), Attached::Here { .. }));
    }
    let [.., last] = peers;
    last
}

#[test]
fn beyond_the_free_takeovers_the_newer_connection_waits_for_its_turn() {
    let mut router = router();
    let holder = contested(&mut router);
    let newer = agent("a");
    assert!(matches!(attach(&mut router, &newer, 0), Attached::Waits { replaced: None, warn_of: Some(_) }));
    assert!(router.is_registered(&holder) && !router.is_registered(&newer) && !newer.has_come());
    router.tick(999);
    assert!(!is_called_in(&newer));
    router.tick(1_000);
    assert!(is_called_in(&newer));
    assert!(matches!(attach(&mut router, &newer, 1_000), Attached::Here { older: Some(older), .. } if older.id == holder.id));
    assert!(newer.has_come() && holder.is_cut());
    // The pause has grown.
    let next = agent("a");
    assert!(matches!(attach(&mut router, &next, 2_999), Attached::Waits { .. }));
    router.tick(3_000);
    assert!(is_called_in(&next));
    let stats = serde_json::to_value(router.takeovers(3_000)).expect("JSON");
    let expected = json!({"made": 6, "delayed": 2, "replaced": 0, "waiting": 1, "fighting": 1, "fighting_ids": ["a"]});
    assert_eq!(stats, expected);
}

#[test]
fn the_newest_waits_and_replaces_the_one_before_it() {
    let mut router = router();
    contested(&mut router);
    let [first, late, second] = ["a", "a", "a"].map(agent);
    attach(&mut router, &first, 0);
    let Attached::Waits { replaced: Some(replaced), .. } = attach(&mut router, &second, 0) else { panic!("the first waited") };
    assert!(replaced.id == first.id && first.is_cut() && !second.is_cut());
    // A connection that came before the one that waits is too late.
    assert!(matches!(attach(&mut router, &late, 0), Attached::Refused(CloseCode::TAKEN_OVER, _)));
    // What the replaced one does afterwards has no effect.
    router.detach(&first, "test", 0);
    assert_eq!(router.waiting_agents().map(|peer| peer.id).collect::<Vec<_>>(), [second.id]);
}

#[test]
fn a_waiting_connection_is_admitted_at_once_when_the_holder_leaves() {
    let mut router = router();
    let holder = contested(&mut router);
    let newer = agent("a");
    attach(&mut router, &newer, 0);
    router.detach(&holder, "test", 1);
    assert!(is_called_in(&newer));
    assert!(matches!(attach(&mut router, &newer, 1), Attached::Here { older: None, .. }));
    assert_eq!(router.waiting_agents().count(), 0);
}

#[test]
fn a_connection_that_leaves_while_it_waits_takes_nothing_over() {
    let mut router = router();
    let holder = contested(&mut router);
    let newer = agent("a");
    attach(&mut router, &newer, 0);
    router.detach(&newer, "test", 1);
    assert!(newer.is_cut() && is_called_in(&newer), "nothing waits for it any more");
    assert!(router.is_registered(&holder));
    assert_eq!(router.waiting_agents().count(), 0);
}

#[test]
fn a_quiet_id_is_forgotten() {
    let mut router = router();
    contested(&mut router);
    // What is still to be told is told first.
    router.tick(1_000);
    router.tick(9_999);
    assert!(!router.is_idle());
    router.tick(10_000);
    assert!(router.is_idle());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Come,
    Leave,
    Describe(usize),
    Status(usize),
    Wait(u64),
    /// A session connects, and lists the agents.
    Look,
}

/// What a session knows of the agent: its description and status.
type Known = Option<(Value, Value)>;

/// A session that stores what it is told, as docs/protocol.md describes.
struct Watcher {
    peer: Arc<Peer>,
    known: Known,
    told_ms: Vec<u64>,
}

impl Watcher {
    fn read(&mut self, now_ms: u64) {
        for frame in self.peer.link.drain() {
            let frame: Value = serde_json::from_str(frame.payload_text()).expect("JSON");
            self.told_ms.push(now_ms);
            self.known = match frame["type"].as_str() {
                Some("agent:disconnected") => None,
                Some("agent:connected" | "agent:updated" | "agent:status") => Some(state(&frame["payload"]["agent"])),
                other => panic!("{other:?}"),
            };
        }
    }
}

fn state(agent: &Value) -> (Value, Value) {
    (agent["name"].clone(), agent["status"].clone())
}

fn now(router: &Router) -> Known {
    let agent = router.agent(&AgentId::new("a").expect("a name"))?;
    Some(state(&serde_json::to_value(agent).expect("JSON")))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Come),
        2 => Just(Step::Leave),
        2 => (0..3_usize).prop_map(Step::Describe),
        2 => (0..3_usize).prop_map(Step::Status),
        4 => (0..700_u64).prop_map(Step::Wait),
        1 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever happens to an agent: everybody is told a burst and then once a second at most, and
    /// knows its state in the end.
    #[test]
    fn changes_are_told_once_a_second_and_nobody_misses_the_last(steps in steps()) {
        let mut router = router();
        let (mut now_ms, mut watchers, mut holder): (u64, Vec<Watcher>, Option<Arc<Peer>>) = (0, Vec::new(), None);
        let mut came_ms = None;
        let look = |router: &mut Router, watchers: &mut Vec<Watcher>, now_ms: u64| {
            let peer = session();
            attach(router, &peer, now_ms);
            watchers.push(Watcher { peer, known: now(router), told_ms: Vec::new() });
        };
        look(&mut router, &mut watchers, now_ms);
        for step in steps {
            match step {
                Step::Come => {
                    let newer = agent("a");
                    match attach(&mut router, &newer, now_ms) {
                        Attached::Here { .. } => {
                            holder = Some(newer);
                            came_ms = came_ms.or(Some(now_ms));
                        }
                        // It gives up.
                        _ => router.detach(&newer, "test", now_ms),
                    }
                }
                Step::Leave => {
                    if let Some(peer) = holder.take() {
                        router.detach(&peer, "test", now_ms);
                    }
                }
                Step::Describe(number) => {
                    let description = AgentDescription { name: Some(number.to_string()), ..AgentDescription::default() };
                    holder.as_ref().map(|peer| router.describe(peer, description, now_ms));
                }
                Step::Status(number) => {
                    holder.iter().for_each(|peer| router.set_status(peer, &number.to_string(), now_ms));
                }
                Step::Wait(ms) => {
                    now_ms += ms;
                    router.tick(now_ms);
                }
                Step::Look => look(&mut router, &mut watchers, now_ms),
            }
            watchers.iter_mut().for_each(|watcher| watcher.read(now_ms));
        }
        let last = now(&router);
        now_ms += NOTICE_PAUSE_MS;
        router.tick(now_ms);
        for watcher in &mut watchers {
            watcher.read(now_ms);
            prop_assert_eq!(&watcher.known, &last);
            let told = &watcher.told_ms;
            for (first, since_ms) in told.iter().enumerate() {
                for (last, at_ms) in told.iter().enumerate().skip(first) {
                    let allowed = NOTICE_BURST + (at_ms - since_ms) / NOTICE_PAUSE_MS;
                    prop_assert!(((last - first) as u64) < allowed, "{told:?}");
                }
            }
        }
        prop_assert_eq!(watchers[0].told_ms.first().copied(), came_ms, "the first change is told at once");
    }
}
