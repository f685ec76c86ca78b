//! The frames that wait, lane by lane: taken from the front, replaced where they are, pushed out oldest first. Pure.
//!
//! Each operation takes constant time, amortised. What only overload needs (where to look for the next frame to push out, which
//! frame of a stream waits where) is built when it is first needed, by looking at each frame once, and given back when idle.

use std::collections::{HashMap, VecDeque};

use super::rules::{Lane, Lost, Mark};
use crate::frame::Frame;

/// A frame of the low lane goes after this many others that went before it.
pub(super) const LOW_TURN: u8 = 32;

/// An emptied lane gives its memory back from this capacity on.
const KEEP_CAPACITY: usize = 16;
/// So few holes are not worth closing.
const FEW_HOLES: usize = 8;

const LOW: usize = Lane::Low as usize;
const LOW_BIT: u8 = 1 << LOW;

#[derive(Debug)]
struct Slot {
    frame: Frame,
    mark: Mark,
}

/// One lane. Its first slot, if there is one, is no hole.
#[derive(Debug, Default)]
struct Row {
    slots: VecDeque<Slot>,
    /// Bytes of frames that a higher lane may push out. A queue is bounded well below what 32 bits hold.
    ephemeral: u32,
    /// Those of them that also newer frames of this lane may push out.
    yielding: u32,
    /// Frames that nothing may push out.
    durable: u32,
    /// Slots whose frame was pushed out.
    holes: u32,
}

/// Where things are while there is overload. Slots are numbered per lane by how many left it before.
#[derive(Debug, Default)]
struct Index {
    /// The number of each lane's first slot.
    first: [u64; Lane::COUNT],
    /// No frame before this one can be pushed out by a higher lane.
    searched: [u64; Lane::COUNT],
    /// No frame before this one yields.
    searched_yielding: [u64; Lane::COUNT],
    /// The streams of the slots before this one are in `streams`.
    keyed: [u64; Lane::COUNT],
    /// The newest slot of each stream. May name slots that have left.
    streams: HashMap<(usize, u64), u64>,
}

/// All lanes of one queue.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    rows: [Row; Lane::COUNT],
    /// A bit for each lane that has frames.
    filled: u8,
    /// A bit for each lane that may hold memory.
    grown: u8,
    /// Frames that went before the first of the low lane.
    passed: u8,
    index: Option<Box<Index>>,
}

impl Lanes {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.slots.len() - row.holes as usize).sum()
    }

    /// Bytes of frames that give way to newer ones.
    pub fn yielding(&self) -> usize {
        self.rows.iter().map(|row| row.yielding as usize).sum()
    }

    /// Bytes of frames that can neither be had again nor give way.
    pub fn firm(&self) -> usize {
        self.rows.iter().map(|row| (row.ephemeral - row.yielding) as usize).sum()
    }

    /// Puts a frame at the end of a lane.
    #[inline]
    pub fn push(&mut self, lane: Lane, frame: Frame, mark: Mark) {
        let at = lane as usize;
        let row = &mut self.rows[at];
        row.add(frame.len(), mark);
        row.slots.push_back(Slot { frame, mark });
        self.filled |= 1 << at;
        self.grown |= 1 << at;
    }

    /// The lane whose turn it is, and how long its first frame is. Where `strictly`, the low lane waits for all others.
    #[inline]
    pub fn next(&self, strictly: bool) -> Option<(usize, usize)> {
        let at = match self.filled {
            0 => return None,
            filled if filled & LOW_BIT != 0 && self.passed >= LOW_TURN && !strictly => LOW,
            filled => filled.trailing_zeros() as usize,
        };
        self.rows[at].slots.front().map(|slot| (at, slot.frame.len()))
    }

    /// Takes the first frame of a lane.
    #[inline]
    pub fn pop(&mut self, at: usize) -> Option<Frame> {
        let row = self.rows.get_mut(at)?;
        let Slot { frame, mark } = row.slots.pop_front()?;
        row.remove(frame.len(), mark);
        if self.index.is_some() {
            self.on_left(at);
        }
        if self.rows[at].slots.is_empty() {
            self.on_emptied(at);
        }
        if self.filled & LOW_BIT != 0 {
            self.passed = if at == LOW { 0 } else { self.passed.saturating_add(1) };
        }
        Some(frame)
    }

    #[cold]
    fn on_left(&mut self, at: usize) {
        if let Some(index) = &mut self.index {
            index.first[at] += 1;
            self.rows[at].skip_holes(&mut index.first[at]);
        }
    }

    fn on_emptied(&mut self, at: usize) {
        self.filled &= !(1 << at);
        self.rows[at].give_back();
        if at == LOW {
            self.passed = 0;
        }
    }

    /// The lane for a frame that must not overtake durable ones: as asked for, or the lowest in which such a frame waits.
    pub fn behind_durable(&self, asked: Lane) -> Lane {
        // Turns would break the order: nothing durable takes the low lane.
        let lowest = [Lane::Normal, Lane::High].into_iter().find(|lane| self.rows[*lane as usize].durable > 0);
        asked.min(Lane::Normal).max(lowest.unwrap_or(Lane::Control))
    }

    /// Bytes that may be pushed out for a frame of this lane.
    pub fn gives_way_to(&self, lane: Lane) -> usize {
        let at = lane as usize;
        self.rows[at].yielding as usize + self.rows.iter().skip(at + 1).map(|row| row.ephemeral as usize).sum::<usize>()
    }

    /// Pushes frames out until there are `needed` bytes more: of the lowest lane first, the oldest first; last those of the
    /// same lane that yield. Durable frames stay.
    pub fn push_out(&mut self, lane: Lane, needed: usize) -> Lost {
        let mut lost = Lost::default();
        let index = self.index.get_or_insert_default();
        let missing = |lost: &Lost| lost.bytes < needed as u64;
        for at in (lane as usize..Lane::COUNT).rev() {
            let row = &mut self.rows[at];
            let Index { first, searched, searched_yielding, .. } = &mut **index;
            let same_lane = at == lane as usize;
            let cursor = if same_lane { &mut searched_yielding[at] } else { &mut searched[at] };
            let left = |row: &Row| if same_lane { row.yielding } else { row.ephemeral };
            while missing(&lost) && left(row) > 0 {
                let place = cursor.saturating_sub(first[at]);
                let Some(slot) = usize::try_from(place).ok().and_then(|place| row.slots.get_mut(place)) else { break };
                *cursor = first[at] + place + 1;
                if if same_lane { slot.mark == Mark::YIELDS } else { slot.mark.is_ephemeral() } {
                    let mark = std::mem::replace(&mut slot.mark, Mark::GONE);
                    let frame = std::mem::replace(&mut slot.frame, Frame::none());
                    row.remove(frame.len(), mark);
                    row.holes += 1;
                    lost += Lost::one(&frame);
                }
            }
            row.skip_holes(&mut first[at]);
            if row.slots.is_empty() {
                self.filled &= !(1 << at);
                row.give_back();
                self.passed = if at == LOW { 0 } else { self.passed };
            } else if row.holes as usize > FEW_HOLES.max(row.slots.len() / 2) {
                row.slots.retain(|slot| slot.mark != Mark::GONE);
                row.holes = 0;
                index.renumber(at);
            }
        }
        lost
    }

    /// The newest frame of a stream that waits in a lane.
    pub fn find(&mut self, lane: Lane, mark: Mark) -> Option<&Frame> {
        self.slot_of(lane, mark).map(|slot| &slot.frame)
    }

    /// Puts a frame in the place of the newest one of its stream. Gives that one back.
    pub fn replace(&mut self, lane: Lane, mark: Mark, frame: Frame) -> Option<Frame> {
        let length = frame.len();
        let slot = self.slot_of(lane, mark)?;
        let older = std::mem::replace(&mut slot.frame, frame);
        let row = &mut self.rows[lane as usize];
        row.ephemeral = row.ephemeral - older.len() as u32 + length as u32;
        Some(older)
    }

    fn slot_of(&mut self, lane: Lane, mark: Mark) -> Option<&mut Slot> {
        let at = lane as usize;
        if self.rows[at].slots.is_empty() {
            return None;
        }
        let index = self.index.get_or_insert_default();
        index.note_streams(at, &self.rows);
        let number = index.streams.get(&(at, mark.key()))?;
        let place = usize::try_from(number.checked_sub(index.first[at])?).ok()?;
        self.rows[at].slots.get_mut(place).filter(|slot| slot.mark == mark)
    }

    /// Drops everything but the control lane. Gives the bytes of what was dropped.
    pub fn discard_data(&mut self) -> usize {
        let mut bytes = 0;
        for (at, row) in self.rows.iter_mut().enumerate().skip(1) {
            let Row { slots, .. } = std::mem::take(row);
            bytes += slots.iter().map(|slot| slot.frame.len()).sum::<usize>();
            if let Some(index) = &mut self.index {
                index.first[at] += slots.len() as u64;
            }
        }
        self.filled &= 1;
        self.passed = 0;
        bytes
    }

    /// Takes every frame out, lane by lane.
    pub fn drain(&mut self) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(self.len());
        while let Some((at, _)) = self.next(true) {
            frames.extend(self.pop(at));
        }
        frames
    }

    /// Gives memory back, if nothing waits.
    pub fn release(&mut self) {
        if self.grown != 0 && self.filled == 0 {
            self.grown = 0;
            self.index = None;
            for row in &mut self.rows {
                row.slots = VecDeque::new();
            }
        }
    }
}

impl Row {
    #[inline]
    fn add(&mut self, length: usize, mark: Mark) {
        let length = length as u32;
        match mark {
            Mark::EPHEMERAL => self.ephemeral += length,
            Mark::DURABLE => self.durable += 1,
            Mark::YIELDS => {
                self.ephemeral += length;
                self.yielding += length;
            }
            _ => self.ephemeral += length,
        }
    }

    #[inline]
    fn remove(&mut self, length: usize, mark: Mark) {
        let length = length as u32;
        match mark {
            Mark::EPHEMERAL => self.ephemeral -= length,
            Mark::DURABLE => self.durable -= 1,
            Mark::YIELDS => {
                self.ephemeral -= length;
                self.yielding -= length;
            }
            _ => self.ephemeral -= length,
        }
    }

    /// Gives memory back, of a lane that has just been emptied.
    fn give_back(&mut self) {
        if self.slots.capacity() > KEEP_CAPACITY {
            self.slots = VecDeque::new();
        }
    }

    fn skip_holes(&mut self, first: &mut u64) {
        while self.holes > 0 && self.slots.front().is_some_and(|slot| slot.mark == Mark::GONE) {
            self.slots.pop_front();
            self.holes -= 1;
            *first += 1;
        }
    }
}

impl Index {
    /// Notes the streams of the slots of a lane that were not looked at yet.
    fn note_streams(&mut self, at: usize, rows: &[Row]) {
        let first = self.first[at];
        let begin = self.keyed[at].max(first);
        let slots = &rows[at].slots;
        let noted = usize::try_from(begin - first).unwrap_or(usize::MAX).min(slots.len());
        for (number, slot) in (begin..).zip(slots.range(noted..)) {
            if slot.mark.is_keyed() {
                self.streams.insert((at, slot.mark.key()), number);
            }
        }
        self.keyed[at] = first + slots.len() as u64;
        // Slots that have left are forgotten once they are the greater part.
        if self.streams.len() > 64 + 2 * rows.iter().map(|row| row.slots.len()).sum::<usize>() {
            self.streams.retain(|(at, _), number| *number >= self.first[*at]);
        }
    }

    /// Holes of a lane were closed.
    fn renumber(&mut self, at: usize) {
        let first = self.first[at];
        self.searched[at] = first;
        self.searched_yielding[at] = first;
        self.keyed[at] = first;
        self.streams.retain(|(lane, _), _| *lane != at);
    }
}
