//! The lanes of one queue: which one's turn it is, and which gives way to which. Pure.

use super::{
    lane::LaneQueue,
    rules::{Lane, Lost, Mark, Source},
};
use crate::frame::Frame;

/// A frame of the low lane is sent after this many others went before it.
pub(super) const LOW_TURN: u8 = 32;

/// Bytes that a lane takes in the order of arrival, whoever sends them; less in a small queue.
const FRONT_BYTES: usize = 16 * 1024;
/// The part of the queue's bound that the front of a lane may take.
const FRONT_PART: usize = 64;

const LOW: usize = Lane::Low as usize;
const LOW_BIT: u8 = 1 << LOW;

/// All lanes of one queue.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Each is created when it is first used, and dropped when idle: an idle connection has none.
    lanes: [Option<Box<LaneQueue>>; Lane::COUNT],
    front_bytes: usize,
    /// A bit for each lane that has frames.
    filled: u8,
    /// Frames that went before the first of the low lane.
    passed: u8,
}

impl Lanes {
    /// The lanes of a queue of so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { front_bytes: FRONT_BYTES.min(max_bytes / FRONT_PART), ..Self::default() }
    }

    fn each(&self) -> impl Iterator<Item = &LaneQueue> {
        self.lanes.iter().flatten().map(|lane| &**lane)
    }

    fn lane(&self, lane: Lane) -> Option<&LaneQueue> {
        self.lanes[lane as usize].as_deref()
    }

    fn lane_mut(&mut self, at: usize) -> Option<&mut LaneQueue> {
        self.lanes.get_mut(at)?.as_deref_mut()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.each().map(LaneQueue::frames).sum()
    }

    /// Bytes of frames that give way to newer ones.
    pub fn yielding(&self) -> usize {
        self.each().map(LaneQueue::yielding).sum()
    }

    /// Bytes of frames that can neither be read again nor give way.
    #[cfg(test)]
    pub fn firm(&self) -> usize {
        self.each().map(|lane| lane.ephemeral() - lane.yielding()).sum()
    }

    /// Puts a frame into a lane, behind those of its sender.
    #[inline]
    pub fn push(&mut self, lane: Lane, source: Source, frame: Frame, mark: Mark) {
        let at = lane as usize;
        self.lanes[at].get_or_insert_default().push(source, frame, mark, self.front_bytes);
        self.filled |= 1 << at;
    }

    /// The lane whose turn it is, and the length of its first frame. If `strictly`, the low lane
    /// waits for all others.
    #[inline]
    pub fn next(&self, strictly: bool) -> Option<(usize, usize)> {
        let at = match self.filled {
            0 => return None,
            filled if filled & LOW_BIT != 0 && self.passed >= LOW_TURN && !strictly => LOW,
            filled => filled.trailing_zeros() as usize,
        };
        self.lanes[at].as_ref()?.next().map(|length| (at, length))
    }

    /// Takes the next frame of a lane.
    #[inline]
    pub fn pop(&mut self, at: usize) -> Option<Frame> {
        let frame = self.lane_mut(at)?.pop()?;
        self.settle(at);
        if self.filled & LOW_BIT != 0 {
            self.passed = if at == LOW { 0 } else { self.passed.saturating_add(1) };
        }
        Some(frame)
    }

    /// Frames were taken out of a lane.
    #[inline]
    fn settle(&mut self, at: usize) {
        if self.lanes[at].as_ref().is_none_or(|lane| lane.is_empty()) {
            self.filled &= !(1 << at);
            if at == LOW {
                self.passed = 0;
            }
        }
    }

    /// The lane for a frame that must not overtake durable ones: the requested one, or the lowest
    /// in which such a frame waits.
    pub fn behind_durable(&self, asked: Lane) -> Lane {
        // Turns would break the order, so nothing durable takes the low lane.
        let lowest = [Lane::Normal, Lane::High].into_iter().find(|lane| self.lane(*lane).is_some_and(LaneQueue::has_durable));
        asked.min(Lane::Normal).max(lowest.unwrap_or(Lane::Control))
    }

    /// Pushes frames out until there are `needed` more bytes for a frame of this lane, sender and
    /// length. First those of lower lanes, the lowest first; then those of its own lane that yield;
    /// then, if it is ephemeral, those of senders that have more of the lane than its own would.
    /// Durable frames stay. `None`: that would not be enough, and nothing was pushed out.
    pub fn make_room(&mut self, lane: Lane, source: Source, length: usize, mark: Mark, needed: usize) -> Option<Lost> {
        let at = lane as usize;
        let mut may_go: usize = self.lanes.iter().skip(at + 1).flatten().map(|lane| lane.ephemeral()).sum();
        let front_bytes = self.front_bytes;
        if let Some(own) = self.lane_mut(at) {
            own.part(source, length, front_bytes);
            may_go += own.yielding() + if mark == Mark::DURABLE { 0 } else { own.excess(source, length) };
        }
        if may_go < needed {
            return None;
        }
        let mut lost = Lost::default();
        for lower in (at..Lane::COUNT).rev() {
            while lost.bytes < needed as u64
                && let Some(frame) = self.lane_mut(lower).and_then(|queue| queue.push_out(lower == at))
            {
                lost += Lost::one(&frame);
            }
            self.settle(lower);
        }
        while lost.bytes < needed as u64
            && let Some(frame) = self.lane_mut(at).and_then(|queue| queue.push_out_excess(source, length))
        {
            lost += Lost::one(&frame);
        }
        self.settle(at);
        Some(lost)
    }

    /// Whether a sender has less of a lane than the average.
    pub fn is_light(&self, lane: Lane, source: Source) -> bool {
        self.lane(lane).is_some_and(|lane| lane.is_light(source))
    }

    /// The newest waiting frame of a stream in a lane.
    pub fn find(&mut self, lane: Lane, source: Source, mark: Mark) -> Option<&Frame> {
        self.lane_mut(lane as usize)?.find(source, mark)
    }

    /// Replaces the newest frame of its stream, and returns that one.
    pub fn replace(&mut self, lane: Lane, source: Source, mark: Mark, frame: Frame) -> Option<Frame> {
        self.lane_mut(lane as usize)?.replace(source, mark, frame)
    }

    /// Drops everything but the control lane. Returns the number of dropped bytes.
    pub fn discard_data(&mut self) -> usize {
        let mut bytes = 0;
        for at in 1..Lane::COUNT {
            if let Some(mut dropped) = self.lanes[at].take() {
                while let Some(frame) = dropped.pop() {
                    bytes += frame.len();
                }
            }
            self.settle(at);
        }
        bytes
    }

    /// Takes all frames, lane by lane.
    pub fn drain(&mut self) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(self.len());
        while let Some((at, _)) = self.next(true) {
            frames.extend(self.pop(at));
        }
        frames
    }

    /// Releases memory, if nothing waits.
    pub fn release(&mut self) {
        if self.filled == 0 {
            self.lanes = Default::default();
        }
    }
}
