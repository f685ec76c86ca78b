//! The machine without a socket: what is sent when, what happens to calls, where a new connection
//! continues.

use proptest::prelude::*;

use common::{assertion::Acks, backoff::Backoff, id::TopicName};
use serde_json::{Value, json};

use super::*;

const KEEP: u64 = 60_000;

fn rules() -> Rules {
    Rules {
        backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
        acks: Acks::Automatic,
        max_pending: 4,
        queue_messages: 4,
        queue_bytes: 10_000,
        registration: None,
        client: None,
    }
}

struct Bench {
    machine: Machine,
    now_ms: u64,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        Self { machine: Machine::start(rules, Positions::new()), now_ms: 0 }
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.machine.on_event(event, Moment { now_ms: self.now_ms, dice: 500 });
        std::iter::from_fn(|| self.machine.next_effect()).collect()
    }

    fn hear(&mut self, frame: Value) -> Vec<Effect> {
        self.tell(Event::Message(Incoming::parse(frame.to_string()).expect("an envelope")))
    }

    fn open(&mut self) {
        self.tell(Event::Connected);
        self.hear(json!({
            "type": "connection:ack",
            "source": "bridge",
            "payload": {"heartbeat": {"timeout_ms": 1000}, "limits": {"max_frame_bytes": 2000}},
        }));
    }

    fn again(&mut self) {
        self.now_ms = self.machine.next_due().expect("a wait");
        let effects = self.tell(Event::Due);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Connect(_))), "{effects:?}");
        self.open();
    }

    fn sent(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.machine.next_frame()).map(|text| serde_json::from_str(&text).expect("JSON")).collect()
    }

    fn call(&mut self, id: &str, call: Call) -> Vec<Effect> {
        self.tell(Event::Call(Outgoing::new("job:new").id(id), call, self.now_ms + KEEP))
    }
}

fn ids(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["id"].as_str()).collect()
}

fn outcomes(effects: &[Effect]) -> Vec<(&str, Option<&DoorError>)> {
    let resolved = effects.iter().filter_map(|effect| match effect {
        Effect::Resolve(id, outcome) => Some((id.as_str(), outcome.as_ref().err())),
        _ => None,
    });
    resolved.collect()
}

#[test]
fn nothing_is_sent_before_the_broker_has_spoken_and_the_registration_goes_first() {
    let mut bench = Bench::new(Rules { registration: Some(json!({"name": "x"})), ..rules() });
    bench.tell(Event::Send(Outgoing::new("a:b").id("1")));
    bench.tell(Event::Connected);
    assert!(bench.sent().is_empty());
    bench.open();
    let frames = bench.sent();
    assert_eq!(frames[0]["type"], "agent:register");
    assert_eq!(frames[1]["id"], "1");
}

#[test]
fn after_a_loss_confirmations_are_asked_for_again_and_requests_fail() {
    let mut bench = Bench::new(rules());
    bench.open();
    bench.call("p", Call::Publish);
    bench.call("r", Call::Request { from: None });
    assert_eq!(ids(&bench.sent()), ["p", "r"]);
    bench.call("later", Call::Request { from: None });
    let effects = bench.tell(Event::Lost("gone".into()));
    assert_eq!(outcomes(&effects), [("r", Some(&DoorError::Interrupted))]);
    bench.again();
    assert_eq!(ids(&bench.sent()), ["p", "later"], "what was not sent is no loss");
    let accepted = json!({"type": "message:accepted", "source": "bridge", "correlation_id": "p", "payload": {}});
    assert_eq!(outcomes(&bench.hear(accepted.clone())), [("p", None)]);
    assert!(outcomes(&bench.hear(accepted)).is_empty(), "once");
}

#[test]
fn only_the_right_peer_ends_a_call() {
    let mut bench = Bench::new(rules());
    bench.open();
    bench.call("p", Call::Publish);
    bench.call("r", Call::Request { from: Some("agent:a".into()) });
    bench.sent();
    for (kind, source, id) in [
        ("message:accepted", "agent:b", "p"),
        ("message:done", "agent:b", "r"),
        ("message:done", "agent:a", "p"),
        ("system:error", "agent:a", "r"),
    ] {
        let effects = bench.hear(json!({"type": kind, "source": source, "correlation_id": id}));
        if (source, id) == ("agent:a", "r") {
            assert_eq!(outcomes(&effects), [("r", None)], "no error but the bridge's is one");
        } else {
            assert!(matches!(effects[..], [Effect::Deliver(_)]), "{kind} from {source}");
        }
    }
    let refused = json!({"type": "system:error", "source": "bridge", "correlation_id": "p", "payload": {"code": "store_unavailable", "message": "m", "temporary": true}});
    let effects = bench.hear(refused);
    let [("p", Some(DoorError::Refused(error)))] = outcomes(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((error.code, error.temporary), (Some(common::error::ErrorCode::StoreUnavailable), true));
}

#[test]
fn a_new_connection_goes_on_after_the_last_message_before_anything_else_is_sent() {
    let mut bench = Bench::new(rules());
    bench.open();
    let topic = TopicName::new("t").expect("a name");
    bench.tell(Event::Call(
        Outgoing::subscription(&topic, false, None).id("s"),
        Call::Subscribe { topic, presence: false },
        KEEP,
    ));
    assert_eq!(bench.sent()[0]["type"], "topic:subscribe");
    bench.hear(json!({"type": "topic:subscribed", "source": "bridge", "correlation_id": "s", "payload": {"topic": "t", "epoch": "e", "seq": 4}}));
    let message = json!({"type": "job:new", "source": "agent:a", "channel": "topic:t", "epoch": "e", "seq": 7});
    assert!(matches!(bench.hear(message)[..], [Effect::Deliver(_)]));
    bench.tell(Event::Lost("gone".into()));
    bench.tell(Event::Send(Outgoing::new("a:b").id("1")));
    bench.now_ms = bench.machine.next_due().expect("a wait");
    assert!(bench.tell(Event::Due).iter().any(|effect| matches!(effect, Effect::Connect(Opening { resume: true, .. }))));
    bench.open();
    let frames = bench.sent();
    assert_eq!(frames[0]["type"], "connection:resume");
    assert_eq!(frames[0]["payload"]["channels"], json!({"topic:t": {"epoch": "e", "seq": 7}}));
    assert_eq!(frames[1]["id"], "1");
    let answer = json!({"type": "connection:resumed", "source": "bridge", "correlation_id": frames[0]["id"], "payload": {"epoch": "f", "channels": {"topic:t": {"recovered": false, "from": 2, "lost": null}}}});
    assert!(matches!(bench.hear(answer)[..], [Effect::Deliver(_)]), "what was lost is the receiver's to know");
    assert_eq!(bench.machine.positions()["topic:t"].seq, 2);
}

#[test]
fn frames_that_restore_a_connection_are_not_kept_for_the_next() {
    let mut bench = Bench::new(Rules { registration: Some(json!({})), ..rules() });
    bench.open();
    bench.tell(Event::Lost("gone".into()));
    bench.again();
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn close_codes_and_refusals_are_honoured() {
    for (code, is_over) in [
        (1000, true),
        (4009, true),
        (4001, true),
        (4003, true),
        (1012, false),
        (1005, false),
        (4008, false),
        (4010, false),
        (4011, false),
    ] {
        let mut bench = Bench::new(rules());
        bench.open();
        bench.tell(Event::CloseReceived { code: CloseCode(code), reason: "why".into() });
        assert_eq!(matches!(bench.machine.state(), DoorState::Closed(_)), is_over, "{code}");
    }
    for (status, is_over) in [(401, true), (403, true), (404, true), (429, false), (503, false)] {
        let mut bench = Bench::new(rules());
        bench.tell(Event::NotConnected(Fault::Refused { status, error: common::error::ErrorCode::NotReady.into() }));
        assert_eq!(matches!(bench.machine.state(), DoorState::Closed(_)), is_over, "{status}");
    }
}

#[test]
fn waits_grow_and_only_a_connection_that_held_begins_anew() {
    let mut bench = Bench::new(rules());
    let attempt = |bench: &Bench| match bench.machine.state() {
        DoorState::Waiting { attempt, .. } => *attempt,
        other => panic!("{other:?}"),
    };
    bench.open();
    bench.tell(Event::Lost("gone".into()));
    bench.again();
    bench.tell(Event::Lost("gone".into()));
    assert_eq!(attempt(&bench), 2);
    bench.again();
    bench.now_ms += 5_000;
    bench.tell(Event::Lost("gone".into()));
    assert_eq!(attempt(&bench), 1);
}

#[test]
fn a_silent_broker_is_given_up_and_calls_time_out() {
    let mut bench = Bench::new(rules());
    bench.open();
    bench.tell(Event::Call(Outgoing::new("a:b").id("1"), Call::Publish, 900));
    bench.now_ms = 900;
    assert_eq!(outcomes(&bench.tell(Event::Due)), [("1", Some(&DoorError::TimedOut))]);
    bench.now_ms = 1000;
    assert!(matches!(bench.tell(Event::Due)[..], [Effect::Drop, Effect::Moved]));
}

#[test]
fn bounds_hold_and_too_long_messages_are_not_sent() {
    let mut bench = Bench::new(rules());
    bench.open();
    for id in ["1", "2", "3", "4"] {
        bench.call(id, Call::Publish);
    }
    assert!(!bench.machine.has_room());
    assert_eq!(outcomes(&bench.call("5", Call::Publish)), [("5", Some(&DoorError::TooManyPending { limit: 4 }))]);
    bench.sent();
    assert!(bench.machine.has_room());
    let long = Outgoing::new("a:b").payload(json!("x".repeat(3000)));
    bench.tell(Event::Send(long));
    assert!(bench.sent().is_empty());
}

#[test]
fn a_drain_ends_when_the_last_acknowledgement_is_written() {
    let mut bench = Bench::new(Rules { acks: Acks::Explicit, ..rules() });
    bench.open();
    bench.tell(Event::Acknowledge("agent:x".into(), 1));
    assert!(bench.tell(Event::Drain).is_empty());
    assert_eq!(bench.sent()[0]["type"], "message:ack");
    assert!(bench.machine.is_drained());
    assert!(matches!(bench.tell(Event::Written)[..], [Effect::HangUp(CloseCode::NORMAL, _), Effect::Moved]));
}

#[test]
fn a_drain_ends_when_everything_is_answered() {
    let mut bench = Bench::new(rules());
    bench.open();
    bench.call("p", Call::Publish);
    assert!(bench.tell(Event::Drain).is_empty());
    assert_eq!(outcomes(&bench.call("q", Call::Publish)), [("q", Some(&DoorError::Closed))]);
    assert_eq!(ids(&bench.sent()), ["p"]);
    let effects = bench.hear(json!({"type": "message:accepted", "source": "bridge", "correlation_id": "p", "payload": {}}));
    assert!(matches!(effects[..], [Effect::Resolve(..), Effect::HangUp(CloseCode::NORMAL, _), Effect::Moved]));
    assert_eq!(*bench.machine.state(), DoorState::Closed(Ending::Ours));
}

fn events() -> impl Strategy<Value = u8> {
    0_u8..12
}

proptest! {
    /// Whatever happens in whatever order: one connection at a time, every call ends exactly once,
    /// nothing is sent while not open.
    #[test]
    fn every_call_ends_once(history in proptest::collection::vec(events(), 1..200)) {
        let mut bench = Bench::new(Rules { max_pending: 8, ..rules() });
        let mut open_calls = std::collections::BTreeSet::new();
        let mut connecting = 1_usize;
        let mut number = 0;
        let check = |effects: Vec<Effect>, open_calls: &mut std::collections::BTreeSet<String>, connecting: &mut usize| {
            for effect in effects {
                match effect {
                    Effect::Resolve(id, _) => assert!(open_calls.remove(&id), "{id} ended twice"),
                    Effect::Connect(_) => *connecting += 1,
                    _ => {}
                }
            }
        };
        // The first dial.
        let first: Vec<_> = std::iter::from_fn(|| bench.machine.next_effect()).collect();
        check(first, &mut open_calls, &mut connecting);
        connecting -= 1;
        let mut is_connected = false;
        for event in history {
            let event = match event {
                0 if connecting > 0 => { connecting -= 1; is_connected = true; Event::Connected }
                1 if connecting > 0 => { connecting -= 1; Event::NotConnected(Fault::Unreachable("x".into())) }
                2 if is_connected => { is_connected = false; Event::Lost("x".into()) }
                3 if is_connected => { is_connected = false; Event::CloseReceived { code: CloseCode::SERVICE_RESTART, reason: String::new() } }
                4 | 5 => {
                    number += 1;
                    let id = number.to_string();
                    open_calls.insert(id.clone());
                    let call = if number % 2 == 0 { Call::Publish } else { Call::Request { from: None } };
                    Event::Call(Outgoing::new("a:b").id(id), call, bench.now_ms + 3000)
                }
                6 if is_connected => {
                    let ack = json!({"type": "connection:ack", "source": "bridge", "payload": {"heartbeat": {"timeout_ms": 1000}, "limits": {"max_frame_bytes": 2000}}});
                    Event::Message(Incoming::parse(ack.to_string()).expect("an envelope"))
                }
                7 => {
                    let id = number.to_string();
                    let accepted = json!({"type": "message:accepted", "source": "bridge", "correlation_id": id, "payload": {}});
                    Event::Message(Incoming::parse(accepted.to_string()).expect("an envelope"))
                }
                8 => {
                    let was_open = bench.machine.state().is_open();
                    let sent = bench.sent();
                    prop_assert!(was_open || sent.is_empty());
                    continue;
                }
                9 => Event::Send(Outgoing::new("a:b")),
                _ => {
                    if let Some(due) = bench.machine.next_due() { bench.now_ms = bench.now_ms.max(due); }
                    let effects = bench.tell(Event::Due);
                    if effects.iter().any(|effect| matches!(effect, Effect::Drop)) { is_connected = false; }
                    check(effects, &mut open_calls, &mut connecting);
                    continue;
                }
            };
            let effects = bench.tell(event);
            check(effects, &mut open_calls, &mut connecting);
            prop_assert!(connecting + usize::from(is_connected) <= 1);
        }
        let effects = bench.tell(Event::Close);
        check(effects, &mut open_calls, &mut connecting);
        prop_assert!(open_calls.is_empty());
    }
}

#[test]
fn a_door_whose_name_is_taken_over_comes_back_under_another_from_its_positions() {
    let name = ClientName::new("tab").expect("a name");
    let mut bench = Bench::new(Rules { client: Some(name.clone()), ..rules() });
    bench.open();
    bench.hear(json!({"type": "job:new", "source": "agent:a", "channel": "session:s", "epoch": "e", "seq": 4}));
    let mut names = std::collections::BTreeSet::from([name.to_string()]);
    for dice in 1..=3 {
        let taken = Event::CloseReceived { code: CloseCode::NAME_TAKEN_OVER, reason: String::new() };
        bench.machine.on_event(taken, Moment { now_ms: bench.now_ms, dice });
        assert!(
            matches!(bench.machine.state(), DoorState::Waiting { .. }),
            "with a wait: two that take turns do not run in a circle"
        );
        std::iter::from_fn(|| bench.machine.next_effect()).for_each(drop);
        bench.now_ms = bench.machine.next_due().expect("a wait");
        let effects = bench.tell(Event::Due);
        let Some(Effect::Connect(Opening { resume: true, client: Some(client) })) =
            effects.iter().find(|effect| matches!(effect, Effect::Connect(_)))
        else {
            panic!("{effects:?}")
        };
        assert!(client.as_str().starts_with("tab.") && names.insert(client.to_string()), "{client}");
        assert_eq!(bench.machine.client(), Some(client));
        bench.open();
        assert_eq!(bench.sent()[0]["payload"]["channels"]["session:s"]["seq"], 4);
    }
    let long = ClientName::new(&"n".repeat(128)).expect("a name");
    assert!(renamed(&long, u64::MAX).is_some_and(|name| name.as_str().len() <= 128));
}
