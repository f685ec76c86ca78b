use proptest::prelude::*;

use super::*;

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

fn at(now_ms: u64) -> Moment {
    Moment { now_ms, dice: 700 }
}

fn linked() -> ProxyMachine {
    let (mut machine, effects) = ProxyMachine::start(BACKOFF);
    assert_eq!(effects, [Effect::Dial]);
    assert_eq!(machine.on_event(Event::Dialled, at(0)), [Effect::OpenUplink]);
    machine
}

fn closed(code: CloseCode) -> Event {
    Event::UpstreamClosed { code, reason: "why".to_owned() }
}

fn told(millis: u64) -> [Effect; 2] {
    let retry_in = Duration::from_millis(millis);
    [Effect::TellLost { retry_in }, Effect::RetryAfter(retry_in)]
}

#[test]
fn the_browser_stays_while_the_broker_is_away_and_is_told() {
    for event in [
        Event::UpstreamLost,
        closed(CloseCode::GOING_AWAY),
        closed(CloseCode::INTERNAL),
        closed(CloseCode::SERVICE_RESTART),
        closed(CloseCode::TRY_AGAIN_LATER),
        closed(CloseCode::ABNORMAL),
        closed(CloseCode::NO_CODE),
    ] {
        let mut machine = linked();
        let effects = machine.on_event(event, at(10));
        assert_eq!(effects[0], Effect::HoldUplink);
        assert_eq!(effects[1..], told(700));
        assert_eq!(machine.on_event(Event::RetryDue, at(710)), [Effect::Dial]);
        assert_eq!(machine.on_event(Event::Dialled, at(720)), [Effect::TellRestored, Effect::OpenUplink]);
        assert!(machine.is_linked());
    }
}

#[test]
fn codes_meant_for_the_browser_pass_through_with_their_reason() {
    for code in [1000, 1002, 1003, 1007, 1009, 4001, 4003, 4008, 4009, 4010, 4011, 4400, 4999].map(CloseCode) {
        let mut machine = linked();
        let effects = machine.on_event(closed(code), at(10));
        assert_eq!(effects[0], Effect::CloseClient { code, reason: "why".to_owned() }, "{code:?}");
        assert_eq!(machine.state(), State::Closing);
    }
}

#[test]
fn waits_double_until_a_link_has_held() {
    let mut machine = linked();
    let mut waits = Vec::new();
    let mut now_ms = 0;
    let moment = |now_ms| Moment { now_ms, dice: u64::MAX - 1 };
    let wait = |effects: Vec<Effect>| match effects.last() {
        Some(Effect::RetryAfter(wait)) => *wait,
        other => panic!("no wait but {other:?}"),
    };
    for _ in 0..4 {
        now_ms += 4_999;
        let expected = BACKOFF.wait(waits.len() as u32, u64::MAX - 1);
        let waited = wait(machine.on_event(Event::UpstreamLost, moment(now_ms)));
        assert_eq!(waited, expected);
        waits.push(waited);
        machine.on_event(Event::RetryDue, moment(now_ms));
        machine.on_event(Event::Dialled, moment(now_ms));
    }
    let waited = wait(machine.on_event(Event::UpstreamLost, moment(now_ms + 5_000)));
    assert_eq!(waited, BACKOFF.wait(0, u64::MAX - 1));
}

#[test]
fn each_failed_dial_is_told_and_the_return_once() {
    let (mut machine, _) = ProxyMachine::start(BACKOFF);
    assert!(machine.is_first_dial());
    let effects = machine.on_event(Event::DialFailed { status: None }, at(0));
    assert_eq!(effects[0], Effect::HoldUplink);
    assert_eq!(effects[1..], told(700));
    for status in [Some(503), Some(429), Some(500), None] {
        assert_eq!(machine.on_event(Event::RetryDue, at(0)), [Effect::Dial]);
        assert!(!machine.is_first_dial());
        assert_eq!(machine.on_event(Event::DialFailed { status }, at(0)), told(700), "{status:?}");
    }
    machine.on_event(Event::RetryDue, at(0));
    assert_eq!(machine.on_event(Event::Dialled, at(0)), [Effect::TellRestored, Effect::OpenUplink]);
}

#[test]
fn a_refused_handshake_ends_the_browsers_socket() {
    for (status, code) in [(404, CloseCode::INTERNAL), (400, CloseCode::INTERNAL), (403, CloseCode::SESSION_ENDED)] {
        let (mut machine, _) = ProxyMachine::start(BACKOFF);
        let effects = machine.on_event(Event::DialFailed { status: Some(status) }, at(0));
        assert!(matches!(&effects[0], Effect::CloseClient { code: sent, .. } if *sent == code), "{effects:?}");
    }
}

#[test]
fn the_browsers_end_closes_the_broker_at_once_in_every_state() {
    let gone = Event::ClientGone { code: CloseCode::ABNORMAL, reason: "vanished".to_owned() };
    let close = [Effect::CloseUpstream { code: CloseCode::HEARTBEAT_TIMEOUT, reason: "vanished".to_owned() }];
    let (mut machine, _) = ProxyMachine::start(BACKOFF);
    assert_eq!(machine.on_event(gone.clone(), at(0)), close);
    let mut machine = linked();
    assert_eq!(machine.on_event(gone.clone(), at(0)), close);
    let mut machine = linked();
    machine.on_event(Event::UpstreamLost, at(0));
    assert_eq!(machine.on_event(gone.clone(), at(0)), close);
    assert_eq!(machine.on_event(gone, at(0)), []);
}

#[test]
fn an_ended_session_leaves_the_broker_at_once_and_the_browser_when_it_is_told() {
    let mut machine = linked();
    let why = || "the session was ended".to_owned();
    let (close_broker, close_client) = (
        Effect::CloseUpstream { code: CloseCode::SESSION_ENDED, reason: why() },
        Effect::CloseClient { code: CloseCode::SESSION_ENDED, reason: why() },
    );
    assert_eq!(machine.on_event(Event::SessionEnded, at(0)), std::slice::from_ref(&close_broker));
    for event in [Event::UpstreamLost, Event::Dialled, Event::RetryDue, closed(CloseCode::GOING_AWAY)] {
        assert_eq!(machine.on_event(event, at(0)), []);
    }
    let order = Event::CloseOrdered { code: CloseCode::SESSION_ENDED, reason: "the session was ended" };
    assert_eq!(machine.on_event(order, at(0)), [close_client, close_broker]);
    assert_eq!(machine.on_event(Event::SessionEnded, at(0)), []);
}

#[test]
fn late_news_change_nothing() {
    let mut machine = linked();
    machine.on_event(Event::UpstreamLost, at(0));
    let before = machine.state();
    for event in [Event::UpstreamLost, Event::Dialled, Event::DialFailed { status: None }, closed(CloseCode::TAKEN_OVER)] {
        assert_eq!(machine.on_event(event, at(0)), []);
        assert_eq!(machine.state(), before);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let code = prop::sample::select(vec![1000, 1001, 1005, 1006, 1011, 1012, 4003, 4008]).prop_map(CloseCode);
    prop_oneof![
        4 => Just(Event::Dialled),
        4 => prop::option::of(prop::sample::select(vec![400, 401, 403, 429, 503])).prop_map(|status| Event::DialFailed { status }),
        4 => Just(Event::RetryDue),
        3 => code.clone().prop_map(closed),
        4 => Just(Event::UpstreamLost),
        1 => code.prop_map(|code| Event::ClientGone { code, reason: String::new() }),
        1 => Just(Event::SessionEnded),
        1 => Just(Event::CloseOrdered { code: CloseCode::SERVICE_RESTART, reason: "drain" }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_invariants_hold(events in prop::collection::vec(any_event(), 0..60), dice: u64) {
        let (mut machine, mut effects) = ProxyMachine::start(BACKOFF);
        let (mut lost, mut held, mut opened) = (false, false, false);
        for (index, event) in events.into_iter().enumerate() {
            let was = machine.state();
            let connecting = matches!(was, State::Connecting { .. });
            let waiting = matches!(was, State::Waiting { .. });
            for effect in &effects {
                match effect {
                    Effect::Dial => prop_assert!(connecting),
                    Effect::RetryAfter(_) => prop_assert!(waiting),
                    Effect::TellLost { .. } => { prop_assert!(held); lost = true }
                    Effect::TellRestored => { prop_assert!(lost); lost = false }
                    Effect::OpenUplink => { prop_assert!(!lost); opened = true; held = false }
                    Effect::HoldUplink => { prop_assert!(!held); opened = false; held = true }
                    Effect::CloseClient { code, .. } => {
                        prop_assert!(code.may_be_sent());
                        prop_assert_eq!(was, State::Closing);
                    }
                    Effect::CloseUpstream { code, .. } => {
                        prop_assert!(code.may_be_sent());
                        prop_assert!(was.is_over());
                    }
                }
            }
            if machine.is_linked() { prop_assert!(opened) }
            if was == State::Closing { prop_assert!(machine.on_event(event.clone(), at(0)).is_empty()) }
            effects = machine.on_event(event, Moment { now_ms: index as u64 * 1000, dice });
        }
    }
}
