//! A naive model of the queue for its property test: a plain list, looked through from end to end.

use super::*;

pub(super) const LANES: [Lane; 4] = [Lane::Control, Lane::High, Lane::Normal, Lane::Low];

#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Newest,
    Oldest,
    Latest(u64),
    Merge(u64),
    Durable,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub lane: Lane,
    source: Source,
    bytes: Vec<u8>,
    rule: Rule,
    /// Whether it waits in the front, where nobody takes turns.
    in_front: bool,
}

impl Waiting {
    pub fn has_stream(&self, lane: Lane, source: Source, rule: Rule) -> bool {
        let same = match (self.rule, rule) {
            (Rule::Latest(own), Rule::Latest(other)) | (Rule::Merge(own), Rule::Merge(other)) => own == other,
            _ => false,
        };
        // A stream is one sender's.
        same && self.lane == lane && self.source == source
    }

    pub fn is_ephemeral(&self) -> bool {
        !matches!(self.rule, Rule::Durable)
    }

    pub fn yields(&self) -> bool {
        matches!(self.rule, Rule::Oldest)
    }
}

/// Whose turn it is in a lane: groups with what they may still send, each with its senders; the
/// first has its turn.
pub(super) type Ring = Vec<(u64, i64, Vec<u64>)>;

/// All frames in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub waiting: Vec<Waiting>,
    rings: [Ring; 4],
    /// Whether the front of a lane has had frames of several senders since it was last empty.
    mixed: [bool; 4],
    pub bytes: usize,
    max_bytes: usize,
    /// Frames of higher lanes that went before the first of each lane.
    passed: [u8; 4],
    pub lost: u64,
    is_closing: bool,
    /// The close frame, until it is taken after everything else.
    pub close: Option<Vec<u8>>,
}

impl Model {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            waiting: Vec::new(),
            rings: Default::default(),
            mixed: [false; 4],
            bytes: 0,
            max_bytes,
            passed: [0; 4],
            lost: 0,
            is_closing: false,
            close: None,
        }
    }

    pub fn bound(&self, lane: Lane) -> usize {
        if lane == Lane::Control { self.max_bytes * 5 / 4 } else { self.max_bytes }
    }

    pub fn size(&self, is_meant: impl Fn(&&Waiting) -> bool) -> usize {
        self.waiting.iter().filter(is_meant).map(|frame| frame.bytes.len()).sum()
    }

    pub fn behind(&self, lane: Lane) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(move |frame| frame.lane == lane && !frame.in_front)
    }

    pub fn remove(&mut self, at: usize) -> Waiting {
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
        // Who has its turn and nothing left makes room for the next; others are passed over when
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

    /// Bytes of a sender, or of a group, that count while room is made for a frame of this lane.
    fn share(&self, lane: Lane, is_meant: impl Fn(&Waiting) -> bool) -> usize {
        self.size(|frame| is_meant(frame) && !(frame.yields() && frame.lane >= lane))
    }

    /// Whether a frame may be pushed out at all.
    fn may_be_pushed_out(frame: &Waiting) -> bool {
        frame.is_ephemeral() && !(frame.source == Source::BRIDGE && frame.lane == Lane::Control)
    }

    /// The place of the oldest frame of the lowest lane, but not above `from`, of a sender.
    fn lowest_of(&self, source: Source, from: Lane) -> Option<usize> {
        LANES.into_iter().rev().take_while(|lane| *lane >= from).find_map(|lane| {
            let is_meant = |frame: &Waiting| frame.lane == lane && frame.source == source && Self::may_be_pushed_out(frame);
            self.waiting.iter().position(is_meant)
        })
    }

    /// The place of the frame that gives way next, none of those that yield to this one being left.
    fn next_to_go(&self, lane: Lane, source: Source, length: usize, rule: Rule) -> Option<usize> {
        let may_go = || self.waiting.iter().filter(|frame| Self::may_be_pushed_out(frame));
        let of_group = |group: u64| self.share(lane, |frame| frame.source.group == group);
        let of_sender = |one: Source| self.share(lane, |frame| frame.source == one);
        let groups = may_go().map(|frame| frame.source.group).filter(|group| *group != source.group);
        let largest = groups.map(|group| (of_group(group), group)).max();
        if let Some((_, group)) = largest.filter(|(bytes, _)| *bytes > of_group(source.group) + length) {
            let senders = may_go().map(|frame| frame.source).filter(|one| one.group == group);
            let (_, sender) = senders.map(|one| (of_sender(one), one.sender)).max()?;
            return self.lowest_of(Source { group, sender }, Lane::Control);
        }
        if source == Source::BRIDGE && lane == Lane::Control && !matches!(rule, Rule::Durable) {
            let below = || may_go().filter(|frame| frame.lane > lane);
            let size = |is_meant: &dyn Fn(&Source) -> bool| {
                self.size(|frame| frame.lane > lane && Self::may_be_pushed_out(frame) && is_meant(&frame.source))
            };
            let groups = below().map(|frame| frame.source.group);
            let (_, group) = groups.map(|group| (size(&|one| one.group == group), group)).max()?;
            let senders = below().map(|frame| frame.source).filter(|one| one.group == group);
            let (_, sender) = senders.map(|source| (size(&|one| *one == source), source.sender)).max()?;
            return self.lowest_of(Source { group, sender }, Lane::High);
        }
        let others = may_go().map(|frame| frame.source).filter(|one| one.group == source.group && *one != source);
        let largest = others.map(|one| (of_sender(one), one.sender)).max();
        if let Some((_, sender)) = largest.filter(|(bytes, _)| *bytes > of_sender(source) + length) {
            return self.lowest_of(Source { sender, ..source }, Lane::Control);
        }
        let below = LANES.into_iter().find(|lower| *lower > lane)?;
        self.lowest_of(source, below)
    }

    /// How many bytes may go at least: what yields in its lane and lower ones, what others have
    /// beyond the share that its sender would have, and its sender's own in lower lanes. For an
    /// answer of the bridge: all that is in lower lanes.
    fn may_go(&self, lane: Lane, source: Source, length: usize, rule: Rule) -> usize {
        let above = |most: usize, is_meant: &dyn Fn(&Waiting) -> bool| {
            let removable = self.share(lane, |frame| is_meant(frame) && Self::may_be_pushed_out(frame));
            removable.min(self.share(lane, is_meant).saturating_sub(most))
        };
        let yielding = self.size(|frame| frame.lane >= lane && frame.yields());
        let own_group = self.share(lane, |frame| frame.source.group == source.group) + length;
        let sources: std::collections::BTreeSet<_> =
            self.waiting.iter().map(|frame| (frame.source.group, frame.source.sender)).collect();
        let groups: std::collections::BTreeSet<_> =
            sources.iter().map(|(group, _)| *group).filter(|group| *group != source.group).collect();
        if source == Source::BRIDGE && lane == Lane::Control && !matches!(rule, Rule::Durable) {
            let below = self.share(lane, |frame| frame.lane > lane && frame.is_ephemeral());
            let beside = |group: &u64| above(own_group, &|frame| frame.lane == lane && frame.source.group == *group);
            return yielding + below + groups.iter().map(beside).sum::<usize>();
        }
        let of_groups = groups.iter().map(|group| above(own_group, &|frame| frame.source.group == *group));
        let own = self.share(lane, |frame| frame.source == source) + length;
        let others = sources.iter().map(|(group, sender)| Source { group: *group, sender: *sender });
        let others = others.filter(|one| one.group == source.group && *one != source);
        let of_senders = others.map(|one| above(own, &|frame| frame.source == one));
        let below = self.share(lane, |frame| frame.lane > lane && frame.source == source && frame.is_ephemeral());
        yielding + of_groups.chain(of_senders).sum::<usize>() + below
    }

    /// Whether there is room for so many more bytes of a frame, once what may go has gone.
    pub fn make_room(&mut self, lane: Lane, source: Source, length: usize, rule: Rule) -> bool {
        if self.bytes == 0 {
            return true;
        }
        if self.may_go(lane, source, length, rule) < (self.bytes + length).saturating_sub(self.bound(lane)) {
            return false;
        }
        let mut after = self.clone();
        let full = |model: &Self| model.bytes + length > model.bound(lane);
        for lower in LANES.into_iter().rev().take_while(|lower| *lower >= lane) {
            while full(&after) {
                let yields = |frame: &&Waiting| frame.lane == lower && frame.yields();
                let front = after.waiting.iter().position(|frame| yields(&frame) && frame.in_front);
                let size = |is_meant: &dyn Fn(&Source) -> bool| after.size(|frame| yields(frame) && is_meant(&frame.source));
                let sources = || after.waiting.iter().filter(yields).map(|frame| frame.source);
                let largest = || {
                    let (_, group) = sources().map(|one| (size(&|other| other.group == one.group), one.group)).max()?;
                    let senders = sources().filter(|one| one.group == group);
                    let (_, sender) = senders.map(|one| (size(&|other| *other == one), one.sender)).max()?;
                    let source = Source { group, sender };
                    after.waiting.iter().position(|frame| yields(&frame) && frame.source == source)
                };
                let Some(place) = front.or_else(largest) else { break };
                after.push_out(place);
            }
        }
        while full(&after)
            && let Some(place) = after.next_to_go(lane, source, length, rule)
        {
            after.push_out(place);
        }
        assert!(!full(&after), "what may go is enough");
        after.lost += (self.waiting.len() - after.waiting.len()) as u64;
        *self = after;
        self.settle();
        true
    }

    fn push_out(&mut self, place: usize) {
        let gone = self.remove(place);
        self.bytes -= gone.bytes.len();
    }

    /// Has a front that is all another sender's, and would be too long with so many more bytes,
    /// wait behind.
    pub fn part(&mut self, lane: Lane, source: Source, length: usize) {
        let of_lane = || self.waiting.iter().filter(|frame| frame.lane == lane);
        let Some(other) = of_lane().next().map(|frame| frame.source).filter(|other| *other != source) else { return };
        let is_alone = !self.mixed[lane as usize] && of_lane().all(|frame| frame.in_front);
        if is_alone && of_lane().map(|frame| frame.bytes.len()).sum::<usize>() + length > self.max_bytes / 64 {
            self.waiting.iter_mut().filter(|frame| frame.lane == lane).for_each(|frame| frame.in_front = false);
            self.rings[lane as usize] = vec![(other.group, 0, vec![other.sender])];
        }
    }

    pub fn settle(&mut self) {
        for lane in LANES {
            if self.waiting.iter().all(|frame| frame.lane != lane) {
                self.passed[lane as usize] = 0;
            }
        }
    }

    pub fn push(&mut self, lane: Lane, source: Source, bytes: Vec<u8>, rule: Rule) {
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
            self.part(lane, source, bytes.len());
            let of_lane = || self.waiting.iter().filter(|frame| frame.lane == lane);
            let is_first = of_lane().next().is_none();
            let is_only = is_first || (!self.mixed[lane as usize] && of_lane().all(|frame| frame.source == source));
            let in_front = of_lane().all(|frame| frame.in_front)
                && (is_only || of_lane().map(|frame| frame.bytes.len()).sum::<usize>() + bytes.len() <= self.max_bytes / 64);
            if in_front {
                self.mixed[lane as usize] = !is_only;
            } else {
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

    /// The place of the frame that goes next in a lane.
    pub fn next_of(&self, lane: Lane) -> Option<usize> {
        let front = self.waiting.iter().position(|frame| frame.lane == lane && frame.in_front);
        front.or_else(|| {
            let (group, _, senders) = self.rings[lane as usize].first()?;
            let source = Source { group: *group, sender: *senders.first()? };
            self.waiting.iter().position(|frame| frame.lane == lane && frame.source == source)
        })
    }

    /// A frame was taken: whose turn is it then?
    pub fn turn(&mut self, taken: &Waiting) {
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

    pub fn take(&mut self, limit: usize) -> Vec<u8> {
        let mut copy = Vec::new();
        loop {
            let first = LANES.iter().find_map(|lane| self.next_of(*lane));
            let is_durable = |place: &usize| matches!(self.waiting[*place].rule, Rule::Durable);
            let in_front = |frame: &Waiting| frame.lane < Lane::Normal && matches!(frame.rule, Rule::Durable);
            let would_overtake = |place: &usize| is_durable(place) && self.waiting.iter().any(in_front);
            let due = |lane: Lane| self.next_of(lane).filter(|_| self.passed[lane as usize] >= TURN && !self.is_closing);
            let due = due(Lane::Low).or_else(|| due(Lane::Normal).filter(|place| !would_overtake(place)));
            let Some(next) = due.or(first) else { break };
            if !copy.is_empty() && copy.len() + self.waiting[next].bytes.len() > limit {
                break;
            }
            let taken = self.waiting[next].clone();
            self.passed[taken.lane as usize] = 0;
            for lower in [Lane::Normal, Lane::Low].into_iter().filter(|lower| *lower > taken.lane) {
                self.passed[lower as usize] = self.passed[lower as usize].saturating_add(1);
            }
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

    /// Groups at the head of the ring that have nothing are gone.
    pub fn drop_emptied(&mut self, lane: Lane) {
        let waiting: Vec<_> = self.behind(lane).map(|frame| frame.source.group).collect();
        let ring = &mut self.rings[lane as usize];
        while ring.first().is_some_and(|(group, ..)| !waiting.contains(group)) {
            ring.remove(0);
        }
        if waiting.is_empty() {
            ring.clear();
        }
    }

    pub fn close(&mut self, bytes: Vec<u8>, mode: CloseMode) {
        if mode == CloseMode::Discard {
            let (kept, gone): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|frame| frame.lane == Lane::Control);
            self.bytes -= gone.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            self.waiting = kept;
            self.rings[1..].iter_mut().for_each(Vec::clear);
            self.passed = [0; 4];
        }
        self.bytes += bytes.len();
        self.close = Some(bytes);
        self.is_closing = true;
    }
}
