//! Who gives way when a frame does not fit a queue. Pure.
//!
//! The sender with most in all lanes together gives way first: first the largest group, in it the
//! largest sender, of that one the lowest lane. A sender pushes out frames of another only if it
//! has less than the other, with the new frame included. The lanes of the two do not matter. So a
//! priority orders the frames of one sender, and costs others no room. This reads each group, and
//! the short fronts of the lanes, so it is for full queues only.

use super::{
    lane::LaneQueue,
    rules::{Lane, Lost, Mark, Source},
    share::{Share, Shares},
};
use crate::frame::Frame;

const CONTROL: usize = Lane::Control as usize;

/// The lanes of a queue, each if it is used.
pub(super) type Queues = [Option<Box<LaneQueue>>];

/// The shares that are counted while room is made. Their memory is kept for the next time.
#[derive(Debug, Default)]
pub(super) struct Counts {
    groups: Shares,
    /// The senders of one group.
    senders: Shares,
    /// That group.
    group: Option<u64>,
}

/// A frame that needs room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Its lane.
    pub lane: usize,
    /// Its sender.
    pub source: Source,
    /// Its length.
    pub length: usize,
    /// Its kind.
    pub mark: Mark,
}

impl Wanted {
    /// Pings, closes and answers of the bridge: they may push out anything in lower lanes.
    fn is_of_bridge(&self) -> bool {
        self.source == Source::BRIDGE && self.lane == CONTROL && self.mark != Mark::DURABLE
    }
}

fn from(queues: &Queues, lane: usize) -> impl Iterator<Item = &LaneQueue> {
    queues.iter().skip(lane).flatten().map(|queue| &**queue)
}

/// Pushes frames out until there are `needed` more bytes for a frame. `None`: that would not be
/// enough, and nothing was pushed out.
pub(super) fn make_room(queues: &mut Queues, counts: &mut Counts, wanted: Wanted, needed: usize) -> Option<Lost> {
    counts.count(queues, wanted.lane);
    if counts.may_go(queues, wanted) < needed {
        return None;
    }
    let mut lost = Lost::default();
    for queue in queues.iter_mut().skip(wanted.lane).rev().flatten() {
        while lost.bytes < needed as u64
            && let Some(frame) = queue.push_out_yielding()
        {
            lost += Lost::one(&frame);
        }
    }
    while lost.bytes < needed as u64
        && let Some(frame) = counts.push_out(queues, wanted)
    {
        lost += Lost::one(&frame);
    }
    Some(lost)
}

impl Counts {
    /// Counts what each group has. Frames that yield in this lane or lower ones do not count: they
    /// are pushed out first.
    fn count(&mut self, queues: &Queues, lane: usize) {
        self.groups.clear();
        self.group = None;
        for (at, queue) in queues.iter().enumerate() {
            if let Some(queue) = queue {
                queue.add_groups(&mut self.groups, at >= lane);
            }
        }
        // What the bridge answers is pushed out for nobody.
        if let Some(bridge) = self.groups.get_mut(&Source::BRIDGE.group)
            && let Some(Some(control)) = queues.first()
        {
            bridge.ephemeral -= control.share_of(Source::BRIDGE, lane == CONTROL).ephemeral;
        }
    }

    fn count_senders(&mut self, queues: &Queues, group: u64, lane: usize) {
        if self.group == Some(group) {
            return;
        }
        self.group = Some(group);
        self.senders.clear();
        for (at, queue) in queues.iter().enumerate() {
            if let Some(queue) = queue {
                queue.add_senders(group, &mut self.senders, at >= lane);
            }
        }
    }

    /// How many bytes may be pushed out, at least.
    fn may_go(&mut self, queues: &Queues, wanted: Wanted) -> usize {
        let Wanted { lane, source, length, .. } = wanted;
        let yielding: usize = from(queues, lane).map(LaneQueue::yielding).sum();
        let own = self.groups.get(&source.group).map_or(0, |own| own.bytes) + length;
        if wanted.is_of_bridge() {
            // Everything in lower lanes, and what others have in its own lane beyond its share.
            let below: usize = from(queues, lane + 1).map(|queue| queue.ephemeral() - queue.yielding()).sum();
            let mut beside = Shares::new();
            from(queues, lane).take(1).for_each(|queue| queue.add_groups(&mut beside, true));
            let others = beside.iter().filter(|(group, _)| **group != source.group);
            return yielding + below + others.map(|(_, other)| other.above(own)).sum::<usize>();
        }
        let others = self.groups.iter().filter(|(group, _)| **group != source.group);
        let of_groups: usize = others.map(|(_, other)| other.above(own)).sum();
        self.count_senders(queues, source.group, lane);
        let own = self.senders.get(&source.sender).map_or(0, |own| own.bytes) + length;
        let others = self.senders.iter().filter(|(sender, _)| **sender != source.sender);
        let of_senders: usize = others.map(|(_, other)| other.above(own)).sum();
        let below = from(queues, lane + 1).map(|queue| queue.share_of(source, true).ephemeral);
        yielding + of_groups + of_senders + below.sum::<usize>()
    }

    /// Pushes out one frame of the sender that gives way next.
    fn push_out(&mut self, queues: &mut Queues, wanted: Wanted) -> Option<Frame> {
        let Wanted { lane, source, length, .. } = wanted;
        let above = |except: u64, most: usize| {
            move |key: u64, share: &Share| if key != except && share.bytes > most { share.bytes } else { 0 }
        };
        let own = self.groups.get(&source.group).map_or(0, |own| own.bytes) + length;
        if let Some(group) = largest(&self.groups, above(source.group, own)) {
            self.count_senders(queues, group, lane);
            let sender = largest(&self.senders, |_, share| share.bytes)?;
            return self.push_out_of(queues, Source { group, sender }, 0);
        }
        if wanted.is_of_bridge() {
            return self.push_out_below(queues, lane + 1);
        }
        self.count_senders(queues, source.group, lane);
        let own = self.senders.get(&source.sender).map_or(0, |own| own.bytes) + length;
        match largest(&self.senders, above(source.sender, own)) {
            Some(sender) => self.push_out_of(queues, Source { sender, ..source }, 0),
            None => self.push_out_of(queues, source, lane + 1),
        }
    }

    /// Pushes out the oldest frame of the sender with most in this lane and lower ones.
    fn push_out_below(&mut self, queues: &mut Queues, lane: usize) -> Option<Frame> {
        let (mut groups, mut senders) = (Shares::new(), Shares::new());
        from(queues, lane).for_each(|queue| queue.add_groups(&mut groups, true));
        let group = largest(&groups, |_, share| share.ephemeral)?;
        from(queues, lane).for_each(|queue| queue.add_senders(group, &mut senders, true));
        let sender = largest(&senders, |_, share| share.ephemeral)?;
        self.push_out_of(queues, Source { group, sender }, lane)
    }

    /// Pushes out the oldest frame of a sender in its lowest lane, but none above `lane`.
    fn push_out_of(&mut self, queues: &mut Queues, source: Source, lane: usize) -> Option<Frame> {
        let lane = if source == Source::BRIDGE { lane.max(CONTROL + 1) } else { lane };
        let frame = queues.iter_mut().skip(lane).rev().flatten().find_map(|queue| queue.push_out_of(source))?;
        if let Some(group) = self.groups.get_mut(&source.group) {
            group.remove(frame.len());
        }
        if self.group == Some(source.group)
            && let Some(sender) = self.senders.get_mut(&source.sender)
        {
            sender.remove(frame.len());
        }
        Some(frame)
    }
}

/// The key of the one with the greatest size above zero, among those with frames that may be pushed
/// out; of two that are equal, the greater key.
fn largest(shares: &Shares, size: impl Fn(u64, &Share) -> usize) -> Option<u64> {
    let sizes = shares.iter().filter(|(_, share)| share.ephemeral > 0).map(|(key, share)| (size(*key, share), *key));
    sizes.filter(|(size, _)| *size > 0).max().map(|(_, key)| key)
}
