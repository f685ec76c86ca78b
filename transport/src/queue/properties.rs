//! The queue against a naive model: a plain list, looked through from end to end.

use proptest::prelude::*;

use super::*;

const POLICY: FlowPolicy = FlowPolicy { burst_ms: 250, share: 0.05 };
const LANES: [Lane; 4] = [Lane::Control, Lane::High, Lane::Normal, Lane::Low];

#[derive(Clone, Copy, Debug)]
enum Rule {
    Newest,
    Oldest,
    Latest(u64),
    Merge(u64),
    Durable,
}

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, usize, Rule),
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
    let push =
        (prop::sample::select(LANES.to_vec()), 4_usize..40, rule).prop_map(|(lane, length, rule)| Step::Push(lane, length, rule));
    let step = prop_oneof![
        60 => push.clone(),
        4 => (prop::sample::select(LANES.to_vec()), 40_usize..700).prop_map(|(lane, length)| Step::Push(lane, length, Rule::Newest)),
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

#[derive(Clone, Debug)]
struct Waiting {
    lane: Lane,
    bytes: Vec<u8>,
    rule: Rule,
}

impl Waiting {
    fn has_stream(&self, lane: Lane, rule: Rule) -> bool {
        let same = match (self.rule, rule) {
            (Rule::Latest(own), Rule::Latest(other)) | (Rule::Merge(own), Rule::Merge(other)) => own == other,
            _ => false,
        };
        same && self.lane == lane
    }
}

/// All frames in the order in which they came.
#[derive(Debug)]
struct Model {
    waiting: Vec<Waiting>,
    bytes: usize,
    max_bytes: usize,
    passed: u8,
    lost: u64,
    is_closing: bool,
}

impl Model {
    fn bound(&self, lane: Lane) -> usize {
        if lane == Lane::Control { self.max_bytes * 5 / 4 } else { self.max_bytes }
    }

    /// Whether there is room for so many more bytes in a lane, once what may go has gone.
    fn make_room(&mut self, lane: Lane, length: usize) -> bool {
        if self.bytes == 0 {
            return true;
        }
        let mut after = self.waiting.clone();
        let mut bytes = self.bytes;
        for lower in LANES.into_iter().rev().take_while(|lower| *lower >= lane) {
            while bytes + length > self.bound(lane) {
                let goes = |frame: &Waiting| match frame.rule {
                    Rule::Durable => false,
                    Rule::Oldest => frame.lane == lower,
                    _ => frame.lane == lower && lower > lane,
                };
                let Some(oldest) = after.iter().position(goes) else { break };
                bytes -= after.remove(oldest).bytes.len();
            }
        }
        if bytes + length > self.bound(lane) {
            return false;
        }
        self.lost += (self.waiting.len() - after.len()) as u64;
        (self.waiting, self.bytes) = (after, bytes);
        self.settle();
        true
    }

    fn settle(&mut self) {
        if self.waiting.iter().all(|frame| frame.lane != Lane::Low) {
            self.passed = 0;
        }
    }

    fn push(&mut self, lane: Lane, bytes: Vec<u8>, rule: Rule) {
        if self.is_closing {
            return;
        }
        let lane = match rule {
            Rule::Durable => {
                let is_durable = |frame: &&Waiting| matches!(frame.rule, Rule::Durable);
                let lowest = self.waiting.iter().filter(is_durable).map(|frame| frame.lane).max();
                lowest.unwrap_or(Lane::Control).max(lane.min(Lane::Normal))
            }
            _ => lane,
        };
        if let Some(at) = self.waiting.iter().rposition(|frame| frame.has_stream(lane, rule)) {
            let older = self.waiting[at].bytes.clone();
            let newer = match rule {
                Rule::Merge(_) if self.bytes <= self.max_bytes / 4 || older.len() + bytes.len() > MERGED_BYTES => None,
                Rule::Merge(_) => Some([older.clone(), bytes.clone()].concat()),
                _ => Some(bytes.clone()),
            };
            if let Some(newer) = newer {
                let growth = newer.len().saturating_sub(older.len());
                if growth > 0 && !self.make_room(lane, growth) {
                    self.lost += 1;
                    return;
                }
                self.bytes = self.bytes + newer.len() - older.len();
                let at = self.waiting.iter().rposition(|frame| frame.has_stream(lane, rule)).expect("still there");
                self.waiting[at].bytes = newer;
                return;
            }
        }
        if self.make_room(lane, bytes.len()) {
            self.bytes += bytes.len();
            self.waiting.push(Waiting { lane, bytes, rule });
        } else if !matches!(rule, Rule::Durable) {
            self.lost += 1;
        }
    }

    fn take(&mut self, limit: usize) -> Vec<u8> {
        let mut copy = Vec::new();
        loop {
            let low = self.waiting.iter().position(|frame| frame.lane == Lane::Low);
            let first = LANES.iter().find_map(|lane| self.waiting.iter().position(|frame| frame.lane == *lane));
            let Some(next) = (if self.passed >= LOW_TURN && !self.is_closing { low.or(first) } else { first }) else { break };
            if !copy.is_empty() && copy.len() + self.waiting[next].bytes.len() > limit {
                break;
            }
            self.passed = if Some(next) == low { 0 } else { self.passed.saturating_add(1) };
            copy.extend(self.waiting.remove(next).bytes);
            self.settle();
        }
        copy
    }

    fn close(&mut self, bytes: Vec<u8>, mode: CloseMode) {
        if mode == CloseMode::Discard {
            let (kept, gone): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|frame| frame.lane == Lane::Control);
            self.bytes -= gone.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            self.waiting = kept;
        }
        self.bytes += bytes.len();
        self.waiting.push(Waiting { lane: Lane::Low, bytes, rule: Rule::Durable });
        self.is_closing = true;
    }
}

fn joined(older: &Frame, newer: &Frame) -> Option<Frame> {
    Some(Frame::from_encoded([older.bytes().as_ref(), newer.bytes()].concat().into()))
}

fn push(queue: &mut Queue, lane: Lane, frame: Frame, rule: Rule) -> Pushed {
    let rule = match rule {
        Rule::Durable => return queue.offer(lane, frame, &POLICY, || 0),
        Rule::Newest => Overflow::DropNewest,
        Rule::Oldest => Overflow::DropOldest,
        Rule::Latest(key) => Overflow::Latest(StreamKey::from_hash(key)),
        Rule::Merge(key) => Overflow::Merge(StreamKey::from_hash(key), joined),
    };
    queue.push(lane, frame, rule, &POLICY, || 0)
}

proptest! {
    #[test]
    fn any_history_writes_what_the_model_writes(steps in steps(), max_bytes in 500_usize..4000) {
        let mut queue = Queue::new(max_bytes, &POLICY, 0);
        let mut model = Model { waiting: Vec::new(), bytes: 0, max_bytes, passed: 0, lost: 0, is_closing: false };
        let (mut in_hand, mut lost) = (0, 0);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(lane, length, rule) => {
                    // Each frame has its number in it, so that what is written says which it was.
                    let bytes: Vec<u8> = (number as u32).to_be_bytes().into_iter().cycle().take(length).collect();
                    lost += push(&mut queue, lane, Frame::from_encoded(bytes.clone().into()), rule).lost.count;
                    model.push(lane, bytes, rule);
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
            prop_assert_eq!((queue.bytes(), queue.frames(), lost), (model.bytes, model.waiting.len(), model.lost));
            prop_assert_eq!(queue.is_idle(), model.waiting.is_empty());
        }
        let mut copy = Vec::new();
        queue.take(&mut copy, usize::MAX);
        prop_assert_eq!(copy, model.take(usize::MAX));
        prop_assert_eq!((queue.frames(), queue.lanes.yielding(), queue.lanes.firm()), (0, 0, 0));
    }
}
