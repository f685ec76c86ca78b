//! The same history runs twice: with everybody, and without the others. The first user's sessions
//! and an agent whose key reaches only that user must hear the same in both, step by step. They
//! must not learn that the others are there, nor how many they are.

use serde_json::Value;

use super::*;

/// Sessions of others: of the second user from the beginning, or anonymous until that user logs in.
const OTHERS: [usize; 2] = [2, 3];
/// An anonymous session into which the first user logs in, if anybody does.
const TO_BE_OURS: usize = 4;

/// Text without what differs between runs by chance or time.
fn normal(text: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !matches!(name.as_str(), "id" | "timestamp" | "connected_at"));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str(text) else { return text.to_owned() };
    strip(&mut value);
    value.to_string()
}

fn is_others(who: Who) -> bool {
    matches!(who, Who::Session(session) if OTHERS.contains(&session))
}

/// Whose step it is: the peer that does it, or, if a peer connects, that one.
fn actor(step: Step, slots: &[Option<Who>; CONNECTIONS]) -> Option<Who> {
    match step {
        Step::Attach(_, who) => Some(who),
        Step::AttachStale(_, session) => Some(Who::Session(session)),
        Step::Detach(at) | Step::LogIn(at, ..) | Step::Subscribe(at, ..) | Step::Unsubscribe(at, _) => slots[at],
        Step::Send(at, ..) | Step::Read(at, ..) | Step::Ask(at) => slots[at],
    }
}

proptest! {
    #[test]
    fn what_one_user_hears_does_not_depend_on_the_others(steps in steps()) {
        let (mut all, mut without) = (World::new(), World::new());
        let mut slots: [Option<Who>; CONNECTIONS] = [None; CONNECTIONS];
        for (number, step) in steps.into_iter().enumerate() {
            let Some(actor) = actor(step, &slots) else { continue };
            let step = match (step, actor) {
                // A place is taken or free in both.
                (Step::Attach(at, _) | Step::AttachStale(at, _), _) if slots[at].is_some() => continue,
                // Whoever sends to an open topic is heard there.
                (Step::Send(_, To::Open, _), who) if is_others(who) => continue,
                (Step::LogIn(at, _, kept), who) => {
                    Step::LogIn(at, if who == Who::Session(TO_BE_OURS) { 0 } else { 1 }, kept)
                }
                (step, _) => step,
            };
            let mut heard = all.step(number, step);
            let mut heard_without = if is_others(actor) { Heard::new() } else { without.step(number, step) };
            slots = std::array::from_fn(|at| all.peers.get(&at).map(|(who, _)| *who));
            for heard in [&mut heard, &mut heard_without] {
                heard.retain(|(at, _)| slots[*at].is_some_and(|who| who != Who::Trusted && !is_others(who)));
                heard.iter_mut().for_each(|(_, text)| *text = normal(text));
                // A peer that leaves several topics leaves them in no particular order.
                heard.sort();
            }
            prop_assert_eq!(heard, heard_without, "after {:?} of {:?}", step, actor);
        }
    }
}
