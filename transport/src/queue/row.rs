//! Frames in the order of arrival: taken from the front, replaced in place, pushed out oldest
//! first. Pure.
//!
//! Each operation takes amortised constant time. The index that only overload needs (where to look
//! for the next frame to push out, where the frames of a stream are) is built when it is first
//! needed, by reading each frame once, and released when idle.

use std::collections::{HashMap, VecDeque};

use super::{
    rules::{Mark, Source},
    turns::Waits,
};
use crate::frame::Frame;

/// An emptied row releases its memory from this capacity on.
const KEEP_CAPACITY: usize = 16;
/// So few holes are not worth closing.
const FEW_HOLES: usize = 8;

#[derive(Debug)]
struct Slot {
    frame: Frame,
    mark: Mark,
}

/// The totals of each kind of frame in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Bytes of frames that a higher lane may push out. A queue's bound is far below 32 bits.
    pub ephemeral: u32,
    /// Those of them that newer frames of the lane may push out too.
    pub yielding: u32,
    /// Frames that nothing may push out.
    pub durable: u32,
    /// Frames of all kinds.
    pub frames: u32,
    /// Bytes of all of them.
    pub bytes: u32,
}

/// See the module. Its first slot, if there is one, is not a hole.
#[derive(Debug, Default)]
pub(super) struct Row {
    slots: VecDeque<Slot>,
    sums: Sums,
    /// Slots whose frame was pushed out.
    holes: u32,
    index: Option<Box<Index>>,
    /// The sender of each slot, if they are of several. Such a row is short; a long one would pay
    /// for a sender in each slot.
    senders: Option<VecDeque<Source>>,
}

/// The index for overload. Slots are numbered by how many left before them.
#[derive(Debug, Default)]
struct Index {
    /// The number of the first slot.
    first: u64,
    /// No frame before this slot can be pushed out by a higher lane.
    searched: u64,
    /// No frame before this slot yields.
    searched_yielding: u64,
    /// The streams of the slots before this one are in `streams`.
    keyed: u64,
    /// The newest slot of each stream. May contain slots that have left.
    streams: HashMap<u64, u64>,
}

impl Sums {
    #[inline]
    pub fn add(&mut self, length: usize, mark: Mark) {
        let length = length as u32;
        self.frames += 1;
        self.bytes += length;
        match mark {
            Mark::DURABLE => self.durable += 1,
            Mark::YIELDS => {
                self.ephemeral += length;
                self.yielding += length;
            }
            _ => self.ephemeral += length,
        }
    }

    #[inline]
    pub fn remove(&mut self, length: usize, mark: Mark) {
        let length = length as u32;
        self.frames -= 1;
        self.bytes -= length;
        match mark {
            Mark::DURABLE => self.durable -= 1,
            Mark::YIELDS => {
                self.ephemeral -= length;
                self.yielding -= length;
            }
            _ => self.ephemeral -= length,
        }
    }

    /// A frame was replaced by one of another length.
    pub fn replace(&mut self, older: usize, newer: usize) {
        self.ephemeral = self.ephemeral - older as u32 + newer as u32;
        self.bytes = self.bytes - older as u32 + newer as u32;
    }
}

impl Waits for Row {
    #[inline]
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Row {
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    #[inline]
    pub fn push(&mut self, frame: Frame, mark: Mark) {
        self.sums.add(frame.len(), mark);
        self.slots.push_back(Slot { frame, mark });
    }

    /// Adds a frame to a row that has, or now gets, frames of several senders. `only`: the sender
    /// of all its frames until now, unless it has several.
    pub fn push_of(&mut self, source: Source, only: Source, frame: Frame, mark: Mark) {
        let slots = self.slots.len();
        self.senders.get_or_insert_with(|| VecDeque::from(vec![only; slots])).push_back(source);
        self.push(frame, mark);
    }

    /// Whether it has had frames of several senders since it was last empty.
    #[inline]
    pub fn is_mixed(&self) -> bool {
        self.senders.is_some()
    }

    /// The sender, length and mark of each frame of a row with several senders.
    pub fn iter_mixed(&self) -> impl Iterator<Item = (Source, usize, Mark)> {
        let slots = self.senders.iter().flat_map(|senders| senders.iter()).zip(&self.slots);
        let frames = slots.filter(|(_, slot)| slot.mark != Mark::GONE);
        frames.map(|(source, slot)| (*source, slot.frame.len(), slot.mark))
    }

    /// Whether the first frame is durable.
    pub fn begins_with_durable(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.mark == Mark::DURABLE)
    }

    /// The length of the first frame.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        self.slots.front().map(|slot| slot.frame.len())
    }

    #[inline]
    pub fn pop(&mut self) -> Option<(Frame, Mark)> {
        let Slot { frame, mark } = self.slots.pop_front()?;
        self.sums.remove(frame.len(), mark);
        if let Some(senders) = &mut self.senders {
            senders.pop_front();
        }
        if let Some(index) = &mut self.index {
            index.first += 1;
        }
        self.skip_holes();
        self.give_back();
        Some((frame, mark))
    }

    /// Removes the oldest frame that may be pushed out: any ephemeral one, or only one that yields.
    pub fn push_out(&mut self, yielding: bool) -> Option<(Frame, Mark)> {
        if (if yielding { self.sums.yielding } else { self.sums.ephemeral }) == 0 {
            return None;
        }
        let index = self.index.get_or_insert_default();
        let cursor = if yielding { &mut index.searched_yielding } else { &mut index.searched };
        let place = loop {
            let place = cursor.saturating_sub(index.first);
            *cursor = index.first + place + 1;
            let place = usize::try_from(place).ok()?;
            let mark = self.slots.get(place)?.mark;
            if if yielding { mark == Mark::YIELDS } else { mark.is_ephemeral() } {
                break place;
            }
        };
        self.take_out(place)
    }

    /// Removes the oldest ephemeral frame of a sender from a row with several. Reads each frame.
    pub fn push_out_of(&mut self, source: Source) -> Option<(Frame, Mark)> {
        let mut slots = self.senders.as_ref()?.iter().zip(&self.slots);
        let place = slots.position(|(sender, slot)| *sender == source && slot.mark.is_ephemeral())?;
        self.take_out(place)
    }

    /// Removes a frame, and leaves a hole.
    fn take_out(&mut self, place: usize) -> Option<(Frame, Mark)> {
        let slot = self.slots.get_mut(place)?;
        let mark = std::mem::replace(&mut slot.mark, Mark::GONE);
        let frame = std::mem::replace(&mut slot.frame, Frame::none());
        self.sums.remove(frame.len(), mark);
        self.holes += 1;
        self.skip_holes();
        if self.holes as usize > FEW_HOLES.max(self.slots.len() / 2) {
            if let Some(senders) = &mut self.senders {
                let mut slots = self.slots.iter();
                senders.retain(|_| slots.next().is_some_and(|slot| slot.mark != Mark::GONE));
            }
            self.slots.retain(|slot| slot.mark != Mark::GONE);
            self.holes = 0;
            if let Some(index) = &mut self.index {
                index.renumber();
            }
        }
        self.give_back();
        Some((frame, mark))
    }

    /// The newest waiting frame of a stream.
    pub fn find(&mut self, mark: Mark) -> Option<&mut Frame> {
        if self.slots.is_empty() {
            return None;
        }
        let index = self.index.get_or_insert_default();
        index.note_streams(&self.slots);
        let number = index.streams.get(&mark.key())?;
        let place = usize::try_from(number.checked_sub(index.first)?).ok()?;
        self.slots.get_mut(place).filter(|slot| slot.mark == mark).map(|slot| &mut slot.frame)
    }

    /// A frame was replaced.
    pub fn on_replaced(&mut self, older: usize, newer: usize) {
        self.sums.replace(older, newer);
    }

    /// Releases memory, if nothing waits.
    #[inline]
    fn give_back(&mut self) {
        if !self.slots.is_empty() {
            return;
        }
        self.senders = None;
        if self.slots.capacity() > KEEP_CAPACITY {
            self.slots = VecDeque::new();
        }
    }

    #[inline]
    fn skip_holes(&mut self) {
        while self.holes > 0 && self.slots.front().is_some_and(|slot| slot.mark == Mark::GONE) {
            self.slots.pop_front();
            self.holes -= 1;
            if let Some(senders) = &mut self.senders {
                senders.pop_front();
            }
            if let Some(index) = &mut self.index {
                index.first += 1;
            }
        }
    }
}

impl Index {
    /// Adds the streams of the slots that were not read yet.
    fn note_streams(&mut self, slots: &VecDeque<Slot>) {
        let begin = self.keyed.max(self.first);
        let noted = usize::try_from(begin - self.first).unwrap_or(usize::MAX).min(slots.len());
        for (number, slot) in (begin..).zip(slots.range(noted..)) {
            if slot.mark.is_keyed() {
                self.streams.insert(slot.mark.key(), number);
            }
        }
        self.keyed = self.first + slots.len() as u64;
        // Slots that have left are removed once they are the majority.
        if self.streams.len() > 64 + 2 * slots.len() {
            self.streams.retain(|_, number| *number >= self.first);
        }
    }

    /// Holes were closed.
    fn renumber(&mut self) {
        self.searched = self.first;
        self.searched_yielding = self.first;
        self.keyed = self.first;
        self.streams.clear();
    }
}
