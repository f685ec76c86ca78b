//! The lanes of one queue: which one's turn it is, and which gives way to which. Pure.

use super::{
    lane::LaneQueue,
    room::{self, Counts, Wanted},
    rules::{Lane, Lost, Mark, Source},
};
use crate::frame::Frame;

/// A frame of the normal or low lane is sent after this many frames of higher lanes went before it.
pub(super) const TURN: u8 = 32;

/// Bytes that a lane takes in the order of arrival, whoever sends them; less in a small queue.
const FRONT_BYTES: usize = 16 * 1024;
/// The part of the queue's bound that the front of a lane may take.
const FRONT_PART: usize = 64;

const NORMAL: usize = Lane::Normal as usize;
const LOW: usize = Lane::Low as usize;
/// The lanes that get a turn while higher ones are not empty.
const WITH_TURNS: u8 = (1 << NORMAL) | (1 << LOW);

/// All lanes of one queue.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Each is created when it is first used, and dropped when idle: an idle connection has none.
    lanes: [Option<Box<LaneQueue>>; Lane::COUNT],
    front_bytes: usize,
    /// A bit for each lane that has frames.
    filled: u8,
    /// Frames of higher lanes that went before the first of each lane.
    passed: [u8; Lane::COUNT],
    /// In use while the queue is full.
    counts: Option<Box<Counts>>,
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

    /// The lane whose turn it is, and the length of its first frame. If `strictly`, each lane waits
    /// for all higher ones.
    #[inline]
    pub fn next(&self, strictly: bool) -> Option<(usize, usize)> {
        if self.filled == 0 {
            return None;
        }
        let highest = self.filled.trailing_zeros() as usize;
        // Lanes with turns that are filled below the highest.
        let waiting = self.filled & WITH_TURNS & !(1 << highest);
        let at = if waiting == 0 || strictly { highest } else { self.due(highest) };
        self.lanes[at].as_ref()?.next().map(|length| (at, length))
    }

    /// The lane whose turn it is while a lane with turns waits for a higher one.
    fn due(&self, highest: usize) -> usize {
        let is_due = |at: usize| self.filled & (1 << at) != 0 && self.passed[at] >= TURN;
        if is_due(LOW) {
            LOW
        } else if is_due(NORMAL) && !self.would_overtake() {
            NORMAL
        } else {
            highest
        }
    }

    /// Whether the next frame of the normal lane is durable and would overtake other durable ones.
    fn would_overtake(&self) -> bool {
        let is_durable = self.lane(Lane::Normal).is_some_and(LaneQueue::begins_with_durable);
        is_durable && [Lane::Control, Lane::High].iter().any(|lane| self.lane(*lane).is_some_and(LaneQueue::has_durable))
    }

    /// Takes the next frame of a lane.
    #[inline]
    pub fn pop(&mut self, at: usize) -> Option<Frame> {
        let frame = self.lane_mut(at)?.pop()?;
        self.settle(at);
        self.passed[at] = 0;
        let waiting = self.filled & WITH_TURNS;
        for lower in [NORMAL, LOW] {
            if lower > at && waiting & (1 << lower) != 0 {
                self.passed[lower] = self.passed[lower].saturating_add(1);
            }
        }
        Some(frame)
    }

    /// Frames were taken out of a lane.
    #[inline]
    fn settle(&mut self, at: usize) {
        if self.lanes[at].as_ref().is_none_or(|lane| lane.is_empty()) {
            self.filled &= !(1 << at);
            self.passed[at] = 0;
        }
    }

    /// The lane for a frame that must not overtake durable ones: the requested one, or the lowest
    /// in which such a frame waits.
    pub fn behind_durable(&self, asked: Lane) -> Lane {
        // Turns would break the order. So nothing durable takes the low lane, and the turn of the
        // normal lane waits for durable frames of higher ones.
        let lowest = [Lane::Normal, Lane::High].into_iter().find(|lane| self.lane(*lane).is_some_and(LaneQueue::has_durable));
        asked.min(Lane::Normal).max(lowest.unwrap_or(Lane::Control))
    }

    /// Pushes frames out until there are `needed` more bytes for a frame of this lane, sender and
    /// length. First those of its lane and lower ones that yield; then those of senders that have
    /// more in all lanes than its own would, the largest first; then those of its own sender in
    /// lower lanes. Durable frames stay. `None`: that would not be enough, and nothing was pushed
    /// out.
    pub fn make_room(&mut self, lane: Lane, source: Source, length: usize, mark: Mark, needed: usize) -> Option<Lost> {
        let wanted = Wanted { lane: lane as usize, source, length, mark };
        let lost = room::make_room(&mut self.lanes, self.counts.get_or_insert_default(), wanted, needed);
        for at in 0..Lane::COUNT {
            self.settle(at);
        }
        lost
    }

    /// Whether a sender has less than the average of all senders, in all lanes.
    pub fn is_light(&self, source: Source) -> bool {
        let (mut own, mut all, mut groups) = (0, 0, 0);
        for (own_here, all_here, groups_here) in self.each().map(|lane| lane.fill(source)) {
            (own, all, groups) = (own + own_here, all + all_here, groups + groups_here);
        }
        own * groups < all
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
            self.counts = None;
        }
    }
}
