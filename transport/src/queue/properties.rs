//! The queue against a naive model: a plain list that is searched from end to end.

use proptest::prelude::*;

use super::{
    model::{LANES, Model, Rule},
    *,
};

const POLICY: FlowPolicy = FlowPolicy { burst_ms: 250, share: 0.05 };

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, Source, usize, Rule),
    Take(usize),
    Written(usize),
    Tick,
    Close(CloseMode),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 10_u64..13;
    let rule = prop_oneof![
        3 => Just(Rule::Newest),
        2 => Just(Rule::Oldest),
        2 => key.clone().prop_map(Rule::Latest),
        1 => key.prop_map(|key| Rule::Merge(key + 10)),
        2 => Just(Rule::Durable),
    ];
    let lane = || prop::sample::select(LANES.to_vec());
    // Two groups of two senders, and the bridge.
    let source =
        || prop_oneof![1 => Just(Source::BRIDGE), 4 => (1_u64..3, 1_u64..3).prop_map(|(group, sender)| Source { group, sender })];
    let push =
        (lane(), source(), 4_usize..40, rule).prop_map(|(lane, source, length, rule)| Step::Push(lane, source, length, rule));
    let step = prop_oneof![
        60 => push.clone(),
        4 => (lane(), source(), 40_usize..700).prop_map(|(lane, source, length)| Step::Push(lane, source, length, Rule::Newest)),
        6 => (0_usize..200).prop_map(Step::Take),
        6 => (0_usize..400).prop_map(Step::Written),
        1 => Just(Step::Tick),
    ];
    let close = prop::option::of(prop_oneof![Just(CloseMode::Flush), Just(CloseMode::Discard)]);
    (prop::collection::vec(step, 1..600), close, prop::collection::vec(push, 0..3)).prop_map(|(mut steps, close, after)| {
        if let Some(mode) = close {
            steps.push(Step::Close(mode));
            steps.extend(after);
        }
        steps
    })
}

/// Streams of different senders have different keys.
fn of_sender(rule: Rule, Source { group, sender }: Source) -> Rule {
    let own = |key: u64| key + 100 * (group * 10 + sender);
    match rule {
        Rule::Latest(key) => Rule::Latest(own(key)),
        Rule::Merge(key) => Rule::Merge(own(key)),
        rule => rule,
    }
}

fn joined(older: &Frame, newer: &Frame) -> Option<Frame> {
    Some(Frame::from_encoded([older.bytes().as_ref(), newer.bytes()].concat().into()))
}

fn push(queue: &mut Queue, lane: Lane, source: Source, frame: Frame, rule: Rule) -> Pushed {
    let rule = match rule {
        Rule::Durable => return queue.offer(lane, frame, &POLICY, || 0),
        Rule::Newest => Overflow::DropNewest,
        Rule::Oldest => Overflow::DropOldest,
        Rule::Latest(key) => Overflow::Latest(StreamKey::from_hash(key)),
        Rule::Merge(key) => Overflow::Merge(StreamKey::from_hash(key), joined),
    };
    queue.push(lane, source, frame, rule, &POLICY, || 0)
}

proptest! {
    #[test]
    fn any_history_writes_what_the_model_writes(steps in steps(), max_bytes in 500_usize..4000) {
        let mut queue = Queue::new(max_bytes, &POLICY, 0);
        let mut model = Model::new(max_bytes);
        let (mut in_hand, mut lost) = (0, 0);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(lane, source, length, rule) => {
                    // Each frame contains its number, so that the output shows which it was.
                    let bytes: Vec<u8> = (number as u32).to_be_bytes().into_iter().cycle().take(length).collect();
                    let rule = of_sender(rule, source);
                    lost += push(&mut queue, lane, source, Frame::from_encoded(bytes.clone().into()), rule).lost.count;
                    model.push(lane, source, bytes, rule);
                }
                Step::Take(limit) => {
                    let mut copy = Vec::new();
                    queue.take(&mut copy, limit);
                    in_hand += copy.len();
                    prop_assert_eq!(copy, model.take(limit));
                }
                Step::Written(most) => {
                    let written = most.min(in_hand);
                    in_hand -= written;
                    model.bytes -= written;
                    queue.on_written(written, 0);
                }
                Step::Tick => drop(queue.on_tick(5000)),
                Step::Close(mode) => {
                    queue.close(CloseCode::NORMAL, Frame::from_encoded(vec![255; 4].into()), mode, 0);
                    model.close(vec![255; 4], mode);
                }
            }
            prop_assert_eq!((queue.bytes(), queue.frames(), lost), (model.bytes, model.waiting.len() + usize::from(model.close.is_some()), model.lost));
            prop_assert_eq!(queue.is_idle(), model.waiting.is_empty() && model.close.is_none());
        }
        let mut copy = Vec::new();
        queue.take(&mut copy, usize::MAX);
        prop_assert_eq!(copy, model.take(usize::MAX));
        prop_assert_eq!((queue.frames(), queue.lanes.yielding(), queue.lanes.firm()), (0, 0, 0));
    }
}
