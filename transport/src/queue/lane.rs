//! One lane of a queue: a front in the order of arrival, and behind it the frames of each sender.
//! Pure.
//!
//! The front takes frames while it is short and nothing waits behind it. A reader that keeps up
//! needs no more, and is served in the order of arrival. While all frames are of one sender, there
//! is nobody to take turns with: they stay in the front, however many they are. When a frame of
//! another sender comes and the front is too long, the front becomes the row of its sender behind
//! an empty front. Frames that come while the front is full wait behind it with the other frames of
//! their sender. There senders take turns: first groups (the sessions of one address), by bytes
//! (deficit round robin), then the senders of a group, frame by frame. So nobody waits behind
//! another's backlog. Frames of one sender keep their order: as long as anything waits behind the
//! front, nothing joins the front.

use super::{
    row::{Row, Sums},
    rules::{Mark, Source},
    share::{Share, Shares},
    turns::{Turns, Waits},
};
use crate::frame::Frame;

/// Bytes that a group may send before the next one's turn.
const QUANTUM: i64 = 4096;
/// A longer frame counts as so many bytes, so that the search for the next turn ends soon.
const MOST_COUNTED: i64 = 16 * QUANTUM;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    front: Row,
    front_bytes: u32,
    /// The sender of the front's frames, unless they are mixed.
    only: Source,
    back: Option<Box<Back>>,
}

/// What does not fit the front.
#[derive(Debug, Default)]
struct Back {
    groups: Turns<Group>,
    sums: Sums,
}

#[derive(Debug, Default)]
struct Group {
    senders: Turns<Row>,
    sums: Sums,
    /// Bytes that it may still send in this turn.
    credit: i64,
}

impl Waits for Group {
    fn is_empty(&self) -> bool {
        self.sums.frames == 0
    }
}

impl LaneQueue {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.back.is_none()
    }

    pub fn frames(&self) -> usize {
        self.sum(|sums| sums.frames as usize)
    }

    /// Bytes that a higher lane may push out.
    pub fn ephemeral(&self) -> usize {
        self.sum(|sums| sums.ephemeral as usize)
    }

    /// Bytes of frames that give way to newer ones of the lane.
    pub fn yielding(&self) -> usize {
        self.sum(|sums| sums.yielding as usize)
    }

    /// Whether anything waits that nothing may push out.
    pub fn has_durable(&self) -> bool {
        self.sum(|sums| sums.durable as usize) > 0
    }

    #[inline]
    fn sum(&self, part: impl Fn(&Sums) -> usize) -> usize {
        part(self.front.sums()) + self.back.as_ref().map_or(0, |back| part(&back.sums))
    }

    /// Puts a frame behind those of its sender. `front_bytes`: the size of the front for
    /// frames of several senders.
    #[inline]
    pub fn push(&mut self, source: Source, frame: Frame, mark: Mark, front_bytes: usize) {
        let length = frame.len();
        if self.front.is_empty() && self.back.is_none() {
            self.only = source;
        }
        self.part(source, length, front_bytes);
        let is_only = !self.front.is_mixed() && self.only == source;
        if self.back.is_some() || (!is_only && self.front_bytes as usize + length > front_bytes) {
            self.back.get_or_insert_default().push(source, frame, mark);
            return;
        }
        self.front_bytes += length as u32;
        if is_only {
            self.front.push(frame, mark);
        } else {
            self.front.push_of(source, self.only, frame, mark);
        }
    }

    /// Prepares for a frame of this sender and length: if the front has only frames of another
    /// sender and would be too long, they move behind the front, so that the two take turns.
    #[inline]
    fn part(&mut self, source: Source, length: usize, front_bytes: usize) {
        let is_alone = self.back.is_none() && !self.front.is_mixed() && self.only != source && !self.front.is_empty();
        if is_alone && self.front_bytes as usize + length > front_bytes {
            self.back = Some(Box::new(Back::of(self.only, std::mem::take(&mut self.front))));
            self.front_bytes = 0;
        }
    }

    /// The length of the next frame.
    #[inline]
    pub fn next(&self) -> Option<usize> {
        self.front.first().or_else(|| self.back.as_ref()?.groups.now().senders.now().first())
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        if let Some((frame, _)) = self.front.pop() {
            self.front_bytes -= frame.len() as u32;
            return Some(frame);
        }
        let frame = self.back.as_mut()?.pop();
        self.drop_back();
        frame
    }

    fn drop_back(&mut self) {
        if self.back.as_ref().is_some_and(|back| back.sums.frames == 0) {
            self.back = None;
        }
    }

    /// Removes one frame that gives way to newer ones: the oldest of the front, then the oldest of
    /// the sender with most of them.
    pub fn push_out_yielding(&mut self) -> Option<Frame> {
        if let Some((frame, _)) = self.front.push_out(true) {
            self.front_bytes -= frame.len() as u32;
            return Some(frame);
        }
        let frame = self.back.as_mut()?.push_out_yielding();
        self.drop_back();
        frame
    }

    /// Removes the oldest ephemeral frame of a sender.
    pub fn push_out_of(&mut self, source: Source) -> Option<Frame> {
        let in_front = match self.front.is_mixed() {
            true => self.front.push_out_of(source),
            false if self.only == source => self.front.push_out(false),
            false => None,
        };
        if let Some((frame, _)) = in_front {
            self.front_bytes -= frame.len() as u32;
            return Some(frame);
        }
        let frame = self.back.as_mut()?.push_out(source, false);
        self.drop_back();
        frame
    }

    /// Adds what each group has here. If `without_yielding`, frames that give way to newer ones do
    /// not count.
    pub fn add_groups(&self, shares: &mut Shares, without_yielding: bool) {
        self.each_in_front(without_yielding, |source, share| *shares.entry(source.group).or_default() += share);
        for (key, group) in self.back.iter().flat_map(|back| back.groups.iter()) {
            *shares.entry(key).or_default() += Share::of(&group.sums, without_yielding);
        }
    }

    /// Adds what each sender of a group has here.
    pub fn add_senders(&self, group: u64, shares: &mut Shares, without_yielding: bool) {
        self.each_in_front(without_yielding, |source, share| {
            if source.group == group {
                *shares.entry(source.sender).or_default() += share;
            }
        });
        let behind = self.back.as_ref().and_then(|back| back.groups.get(group));
        for (key, row) in behind.iter().flat_map(|group| group.senders.iter()) {
            *shares.entry(key).or_default() += Share::of(row.sums(), without_yielding);
        }
    }

    /// What a sender has here.
    pub fn share_of(&self, source: Source, without_yielding: bool) -> Share {
        let mut own = Share::default();
        self.each_in_front(without_yielding, |other, share| {
            if other == source {
                own += share;
            }
        });
        let behind = self.back.as_ref().and_then(|back| back.groups.get(source.group)?.senders.get(source.sender));
        if let Some(row) = behind {
            own += Share::of(row.sums(), without_yielding);
        }
        own
    }

    fn each_in_front(&self, without_yielding: bool, mut add: impl FnMut(Source, Share)) {
        if !self.front.is_mixed() {
            return add(self.only, Share::of(self.front.sums(), without_yielding));
        }
        for (source, bytes, mark) in self.front.iter_mixed() {
            if !without_yielding || mark != Mark::YIELDS {
                add(source, Share { bytes, ephemeral: if mark.is_ephemeral() { bytes } else { 0 } });
            }
        }
    }

    /// Whether the next frame is durable.
    pub fn begins_with_durable(&self) -> bool {
        if self.front.is_empty() {
            self.back.as_ref().is_some_and(|back| back.groups.now().senders.now().begins_with_durable())
        } else {
            self.front.begins_with_durable()
        }
    }

    /// Bytes of ephemeral frames that a sender's group has and that all have, and the number of
    /// groups. A front of several senders does not count: it is short.
    pub fn fill(&self, source: Source) -> (usize, usize, usize) {
        let front = if self.front.is_mixed() { 0 } else { self.front.sums().ephemeral as usize };
        let own_front = if self.only.group == source.group { front } else { 0 };
        self.back.as_ref().map_or((own_front, front, usize::from(front > 0)), |back| {
            let own = back.groups.get(source.group).map_or(0, |own| own.sums.ephemeral as usize);
            (own_front + own, front + back.sums.ephemeral as usize, back.groups.count())
        })
    }

    /// The newest waiting frame of a stream.
    pub fn find(&mut self, source: Source, mark: Mark) -> Option<&Frame> {
        let behind = self.back.as_mut().and_then(|back| back.row_mut(source)?.find(mark));
        match behind {
            Some(frame) => Some(frame),
            None => self.front.find(mark).map(|frame| &*frame),
        }
    }

    /// Replaces the newest frame of its stream, and returns that one.
    pub fn replace(&mut self, source: Source, mark: Mark, frame: Frame) -> Option<Frame> {
        let newer = frame.len();
        if let Some(back) = &mut self.back
            && let Some(row) = back.row_mut(source)
            && let Some(slot) = row.find(mark)
        {
            let older = std::mem::replace(slot, frame);
            row.on_replaced(older.len(), newer);
            if let Some(group) = back.groups.get_mut(source.group) {
                group.sums.replace(older.len(), newer);
            }
            back.sums.replace(older.len(), newer);
            return Some(older);
        }
        let older = std::mem::replace(self.front.find(mark)?, frame);
        self.front.on_replaced(older.len(), newer);
        self.front_bytes = self.front_bytes - older.len() as u32 + newer as u32;
        Some(older)
    }
}

impl Back {
    /// All frames of one sender.
    fn of(source: Source, row: Row) -> Self {
        let mut back = Self { sums: *row.sums(), ..Self::default() };
        let group = back.groups.entry(source.group);
        group.sums = *row.sums();
        *group.senders.entry(source.sender) = row;
        back
    }

    fn push(&mut self, source: Source, frame: Frame, mark: Mark) {
        let length = frame.len();
        let group = self.groups.entry(source.group);
        group.senders.entry(source.sender).push(frame, mark);
        group.sums.add(length, mark);
        self.sums.add(length, mark);
    }

    fn row_mut(&mut self, source: Source) -> Option<&mut Row> {
        self.groups.get_mut(source.group)?.senders.get_mut(source.sender)
    }

    /// Takes the next frame, and determines whose turn is next.
    fn pop(&mut self) -> Option<Frame> {
        let group = self.groups.now_mut();
        let (frame, mark) = group.senders.now_mut().pop()?;
        group.senders.pass();
        group.senders.settle();
        let length = frame.len();
        group.sums.remove(length, mark);
        self.sums.remove(length, mark);
        group.credit -= (length as i64).min(MOST_COUNTED);
        let is_over = group.credit <= 0 || group.is_empty();
        if self.groups.is_one() {
            // Nobody waits for it to pay.
            self.groups.now_mut().credit = 0;
        } else if is_over {
            self.next_turn();
        }
        Some(frame)
    }

    /// Passes the turn to the next group that has paid for what it sent in earlier turns.
    fn next_turn(&mut self) {
        loop {
            self.groups.pass();
            let group = self.groups.now_mut();
            if group.credit <= 0 {
                group.credit += QUANTUM;
            }
            if group.credit > 0 || self.groups.is_one() {
                return;
            }
        }
    }

    /// Removes the oldest frame that yields, of the group and its sender with most of them.
    fn push_out_yielding(&mut self) -> Option<Frame> {
        let group = self.groups.largest(|group| group.sums.yielding as usize)?;
        let sender = self.groups.get(group)?.senders.largest(|row| row.sums().yielding as usize)?;
        self.push_out(Source { group, sender }, true)
    }

    /// Removes the oldest frame of a sender: an ephemeral one, or, if `yielding`, one that yields.
    fn push_out(&mut self, source: Source, yielding: bool) -> Option<Frame> {
        let group = self.groups.get_mut(source.group)?;
        let (frame, mark) = group.senders.get_mut(source.sender)?.push_out(yielding)?;
        group.sums.remove(frame.len(), mark);
        group.senders.settle();
        if group.sums.frames == 0 {
            group.credit = 0;
        }
        self.sums.remove(frame.len(), mark);
        self.groups.settle();
        Some(frame)
    }
}
