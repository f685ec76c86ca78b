//! The queue against a naive model: a plain list that is searched from end to end.

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

#[derive(Clone, Debug)]
struct Waiting {
    lane: Lane,
    source: Source,
    bytes: Vec<u8>,
    rule: Rule,
    /// Whether it waits in the front, where nobody takes turns.
    in_front: bool,
}

impl Waiting {
    fn has_stream(&self, lane: Lane, source: Source, rule: Rule) -> bool {
        let same = match (self.rule, rule) {
            (Rule::Latest(own), Rule::Latest(other)) | (Rule::Merge(own), Rule::Merge(other)) => own == other,
            _ => false,
        };
        // A stream belongs to one sender.
        same && self.lane == lane && self.source == source
    }

    fn is_ephemeral(&self) -> bool {
        !matches!(self.rule, Rule::Durable)
    }

    fn yields(&self) -> bool {
        matches!(self.rule, Rule::Oldest)
    }

    fn is_firm(&self) -> bool {
        self.is_ephemeral() && !self.yields()
    }
}

/// Whose turn it is in a lane: groups with what they may still send, each with its senders. The
/// first one has its turn.
type Ring = Vec<(u64, i64, Vec<u64>)>;

/// All frames in the order of arrival.
#[derive(Clone, Debug)]
struct Model {
    waiting: Vec<Waiting>,
    rings: [Ring; 4],
    bytes: usize,
    max_bytes: usize,
    passed: u8,
    lost: u64,
    is_closing: bool,
    /// The close frame, until it is taken after everything else.
    close: Option<Vec<u8>>,
}

impl Model {
    fn bound(&self, lane: Lane) -> usize {
        if lane == Lane::Control { self.max_bytes * 5 / 4 } else { self.max_bytes }
    }

    fn size(&self, is_meant: impl Fn(&&Waiting) -> bool) -> usize {
        self.waiting.iter().filter(is_meant).map(|frame| frame.bytes.len()).sum()
    }

    fn behind(&self, lane: Lane) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(move |frame| frame.lane == lane && !frame.in_front)
    }

    /// The first of the largest senders or groups among these, by the bytes of their selected
    /// frames behind the front.
    fn largest(
        &self,
        lane: Lane,
        name: impl Fn(&Source) -> Option<u64>,
        above: usize,
        is_meant: fn(&Waiting) -> bool,
    ) -> Option<u64> {
        let named = |frame: &&Waiting| name(&frame.source).is_some();
        let names: std::collections::BTreeSet<_> =
            self.behind(lane).filter(named).filter_map(|frame| name(&frame.source)).collect();
        let size = |one: &u64| {
            let own =
                |frame: &&Waiting| frame.lane == lane && !frame.in_front && name(&frame.source) == Some(*one) && is_meant(frame);
            self.size(own)
        };
        names.iter().map(|one| (size(one), *one)).filter(|(size, _)| *size > above).max().map(|(_, one)| one)
    }

    /// Removes the oldest frame behind the front of the largest sender of a selected group.
    fn push_out_of(&mut self, lane: Lane, group: u64, above: usize, is_meant: fn(&Waiting) -> bool) -> bool {
        let of_group = |source: &Source| (source.group == group).then_some(source.sender);
        let Some(sender) = self.largest(lane, of_group, above, is_meant) else { return false };
        let source = Source { group, sender };
        let oldest = self
            .waiting
            .iter()
            .position(|frame| frame.lane == lane && !frame.in_front && frame.source == source && is_meant(frame));
        self.remove(oldest.expect("it has some"));
        true
    }

    fn remove(&mut self, at: usize) -> Waiting {
        let gone = self.waiting.remove(at);
        let lane = gone.lane as usize;
        let has = |waiting: &[Waiting], group: u64, sender: Option<u64>| {
            waiting.iter().any(|frame| {
                frame.lane as usize == lane
                    && !frame.in_front
                    && frame.source.group == group
                    && sender.is_none_or(|sender| frame.source.sender == sender)
            })
        };
        // A group that has had its turn and has nothing left is removed; others are skipped when
        // their turn comes.
        let ring = &mut self.rings[lane];
        for (group, credit, senders) in ring.iter_mut() {
            while senders.len() > 1 && !has(&self.waiting, *group, senders.first().copied()) {
                senders.remove(0);
            }
            if !has(&self.waiting, *group, None) {
                *credit = 0;
            }
        }
        while ring.first().is_some_and(|(group, ..)| !has(&self.waiting, *group, None)) {
            ring.remove(0);
        }
        gone
    }

    /// Bytes that may be removed: everything ephemeral of lower lanes, what yields of its own, and
    /// what others have of it beyond what its sender would have.
    fn may_go(&self, lane: Lane, source: Source, length: usize, rule: Rule) -> usize {
        let below = self.size(|frame| frame.lane > lane && frame.is_ephemeral());
        let yielding = self.size(|frame| frame.lane == lane && frame.yields());
        if matches!(rule, Rule::Durable) {
            return below + yielding;
        }
        let firm = |is_meant: &dyn Fn(&Source) -> bool| {
            self.size(|frame| frame.lane == lane && !frame.in_front && frame.is_firm() && is_meant(&frame.source))
        };
        let sources: std::collections::BTreeSet<_> =
            self.behind(lane).map(|frame| (frame.source.group, frame.source.sender)).collect();
        let groups: std::collections::BTreeSet<_> =
            sources.iter().map(|(group, _)| *group).filter(|group| *group != source.group).collect();
        let most = firm(&|one| one.group == source.group) + length;
        let of_groups = groups.iter().map(|group| firm(&|one| one.group == *group).saturating_sub(most));
        let most = firm(&|one| *one == source) + length;
        let of_senders = sources
            .iter()
            .map(|(group, sender)| Source { group: *group, sender: *sender })
            .filter(|one| one.group == source.group && *one != source)
            .map(|one| firm(&|other| *other == one).saturating_sub(most));
        below + yielding + of_groups.chain(of_senders).sum::<usize>()
    }

    /// Whether there is room for so many more bytes of a frame, once everything that may be removed
    /// is gone.
    fn make_room(&mut self, lane: Lane, source: Source, length: usize, rule: Rule) -> bool {
        if self.bytes == 0 {
            return true;
        }
        if self.may_go(lane, source, length, rule) < (self.bytes + length).saturating_sub(self.bound(lane)) {
            return false;
        }
        let mut after = self.clone();
        let full = |model: &Self| model.bytes + length > model.bound(lane);
        for lower in LANES.into_iter().rev().take_while(|lower| *lower >= lane) {
            let is_meant: fn(&Waiting) -> bool = if lower > lane { Waiting::is_ephemeral } else { Waiting::yields };
            while full(&after) {
                let before = after.size(|_| true);
                let front = after.waiting.iter().position(|frame| frame.lane == lower && frame.in_front && is_meant(frame));
                if let Some(oldest) = front {
                    after.remove(oldest);
                } else {
                    let Some(group) = after.largest(lower, |source| Some(source.group), 0, is_meant) else { break };
                    after.push_out_of(lower, group, 0, is_meant);
                }
                after.bytes -= before - after.size(|_| true);
            }
        }
        while full(&after) && !matches!(rule, Rule::Durable) {
            let before = after.size(|_| true);
            let own = |frame: &&Waiting| frame.lane == lane && !frame.in_front && frame.is_firm();
            let most = after.size(|frame| own(frame) && frame.source.group == source.group) + length;
            if let Some(group) = after.largest(lane, |source| Some(source.group), most, Waiting::is_firm) {
                after.push_out_of(lane, group, 0, Waiting::is_firm);
            } else {
                let most = after.size(|frame| own(frame) && frame.source == source) + length;
                if !after.push_out_of(lane, source.group, most, Waiting::is_firm) {
                    break;
                }
            }
            after.bytes -= before - after.size(|_| true);
        }
        assert!(!full(&after), "what may go is enough");
        after.lost += (self.waiting.len() - after.waiting.len()) as u64;
        *self = after;
        self.settle();
        true
    }

    fn settle(&mut self) {
        if self.waiting.iter().all(|frame| frame.lane != Lane::Low) {
            self.passed = 0;
        }
    }

    fn push(&mut self, lane: Lane, source: Source, bytes: Vec<u8>, rule: Rule) {
        if self.is_closing {
            return;
        }
        let (lane, source) = match rule {
            Rule::Durable => {
                let is_durable = |frame: &&Waiting| matches!(frame.rule, Rule::Durable);
                let lowest = self.waiting.iter().filter(is_durable).map(|frame| frame.lane).max();
                (lowest.unwrap_or(Lane::Control).max(lane.min(Lane::Normal)), Source::BRIDGE)
            }
            _ => (lane, source),
        };
        if let Some(at) = self.waiting.iter().rposition(|frame| frame.has_stream(lane, source, rule)) {
            let older = self.waiting[at].bytes.clone();
            let newer = match rule {
                Rule::Merge(_) if self.bytes <= self.max_bytes / 4 || older.len() + bytes.len() > MERGED_BYTES => None,
                Rule::Merge(_) => Some([older.clone(), bytes.clone()].concat()),
                _ => Some(bytes.clone()),
            };
            if let Some(newer) = newer {
                let growth = newer.len().saturating_sub(older.len());
                if growth > 0 && !self.make_room(lane, source, growth, rule) {
                    self.lost += 1;
                    return;
                }
                self.bytes = self.bytes + newer.len() - older.len();
                let at = self.waiting.iter().rposition(|frame| frame.has_stream(lane, source, rule)).expect("still there");
                self.waiting[at].bytes = newer;
                return;
            }
        }
        if self.make_room(lane, source, bytes.len(), rule) {
            self.bytes += bytes.len();
            let of_lane = || self.waiting.iter().filter(|frame| frame.lane == lane);
            let in_front = of_lane().all(|frame| frame.in_front)
                && (of_lane().next().is_none()
                    || of_lane().map(|frame| frame.bytes.len()).sum::<usize>() + bytes.len() <= self.max_bytes / 64);
            if !in_front {
                let ring = &mut self.rings[lane as usize];
                let at = ring.iter().position(|(group, ..)| *group == source.group).unwrap_or_else(|| {
                    ring.push((source.group, 0, Vec::new()));
                    ring.len() - 1
                });
                let is_new =
                    !self.waiting.iter().any(|frame| frame.lane == lane && !frame.in_front && frame.source.group == source.group);
                if is_new {
                    ring[at].2 = vec![source.sender];
                } else if !ring[at].2.contains(&source.sender) {
                    ring[at].2.push(source.sender);
                }
            }
            self.waiting.push(Waiting { lane, source, bytes, rule, in_front });
        } else if !matches!(rule, Rule::Durable) {
            self.lost += 1;
        }
    }

    /// The place of the frame that is sent next in a lane.
    fn next_of(&self, lane: Lane) -> Option<usize> {
        let front = self.waiting.iter().position(|frame| frame.lane == lane && frame.in_front);
        front.or_else(|| {
            let (group, _, senders) = self.rings[lane as usize].first()?;
            let source = Source { group: *group, sender: *senders.first()? };
            self.waiting.iter().position(|frame| frame.lane == lane && frame.source == source)
        })
    }

    /// A frame was taken: whose turn is next?
    fn turn(&mut self, taken: &Waiting) {
        let lane = taken.lane as usize;
        if taken.in_front {
            return;
        }
        let waiting: Vec<_> = self.behind(taken.lane).map(|frame| frame.source).collect();
        let has = |group: u64| waiting.iter().any(|source| source.group == group);
        let ring = &mut self.rings[lane];
        let Some(at) = ring.iter().position(|(group, ..)| *group == taken.source.group) else { return };
        let (group, credit, senders) = &mut ring[at];
        // The sender has had its turn in its group.
        if senders.first() == Some(&taken.source.sender) && senders.len() > 1 {
            let passed = senders.remove(0);
            if waiting.contains(&taken.source) {
                senders.push(passed);
            }
            while senders.len() > 1 && !waiting.contains(&Source { group: *group, sender: senders[0] }) {
                senders.remove(0);
            }
        }
        *credit -= (taken.bytes.len() as i64).min(16 * 4096);
        let is_over = *credit <= 0 || !has(*group);
        if ring.len() == 1 {
            ring[0].1 = 0;
        } else if is_over {
            loop {
                let passed = ring.remove(0);
                if has(passed.0) {
                    ring.push(passed);
                }
                while ring.first().is_some_and(|(group, ..)| !has(*group)) {
                    ring.remove(0);
                }
                let alone = ring.len() == 1;
                let Some((_, credit, _)) = ring.first_mut() else { break };
                if *credit <= 0 {
                    *credit += 4096;
                }
                if *credit > 0 || alone {
                    break;
                }
            }
        }
    }

    fn take(&mut self, limit: usize) -> Vec<u8> {
        let mut copy = Vec::new();
        loop {
            let low = self.next_of(Lane::Low);
            let first = LANES.iter().find_map(|lane| self.next_of(*lane));
            let Some(next) = (if self.passed >= LOW_TURN && !self.is_closing { low.or(first) } else { first }) else { break };
            if !copy.is_empty() && copy.len() + self.waiting[next].bytes.len() > limit {
                break;
            }
            self.passed = if Some(next) == low { 0 } else { self.passed.saturating_add(1) };
            let taken = self.waiting[next].clone();
            self.waiting.remove(next);
            self.turn(&taken);
            self.drop_emptied(taken.lane);
            copy.extend(taken.bytes);
            self.settle();
        }
        if self.waiting.is_empty() {
            let fits = |close: &mut Vec<u8>| copy.is_empty() || copy.len() + close.len() <= limit;
            if let Some(close) = self.close.take_if(fits) {
                copy.extend(close);
            }
        }
        copy
    }

    /// Groups at the head of the ring without frames are removed.
    fn drop_emptied(&mut self, lane: Lane) {
        let waiting: Vec<_> = self.behind(lane).map(|frame| frame.source.group).collect();
        let ring = &mut self.rings[lane as usize];
        while ring.first().is_some_and(|(group, ..)| !waiting.contains(group)) {
            ring.remove(0);
        }
        if waiting.is_empty() {
            ring.clear();
        }
    }

    fn close(&mut self, bytes: Vec<u8>, mode: CloseMode) {
        if mode == CloseMode::Discard {
            let (kept, gone): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|frame| frame.lane == Lane::Control);
            self.bytes -= gone.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            self.waiting = kept;
            self.rings[1..].iter_mut().for_each(Vec::clear);
            self.passed = 0;
        }
        self.bytes += bytes.len();
        self.close = Some(bytes);
        self.is_closing = true;
    }
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
        let mut model = Model { waiting: Vec::new(), rings: Default::default(), bytes: 0, max_bytes, passed: 0, lost: 0, is_closing: false, close: None };
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
