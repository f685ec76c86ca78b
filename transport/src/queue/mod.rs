//! The frames that wait to be written to one connection: four lanes, a bound in bytes, and the
//! rules at the bound. Pure.
//!
//! The bound counts bytes that are queued, or handed to the writer and not yet accepted by the
//! kernel. One frame always fits an empty queue. The control lane may exceed the bound by a
//! quarter.
//!
//! Lanes are strict, `control > high > normal > low`, except that the first frame of the normal and
//! of the low lane is sent after [`TURN`] frames of higher lanes went before it. So a flood of high
//! priority does not keep others waiting for ever. Within a lane senders take turns once more waits
//! than a reader that keeps up leaves there: first groups of senders (the sessions of one address),
//! by bytes, then the senders of a group. Frames of one sender keep their order in a lane. All
//! durable frames count as one sender's, the log's.
//!
//! A frame that does not fit pushes out ephemeral frames: first those of its own lane and lower
//! ones with [`Overflow::DropOldest`]; then those of a sender that has more in all lanes together
//! than its own sender would, the largest first, its lowest lane first; then those of its own
//! sender in lower lanes. So a full queue costs the sender that fills it, not the newcomer,
//! whatever their priorities. Answers of the bridge may push out anything in lower lanes. If that
//! would not make room, nothing is pushed out and the frame itself is dropped.
//!
//! Durable frames are never pushed out: if they do not fit, they wait in the log. Among themselves
//! they keep their order across lanes: a durable frame takes a lower lane than requested while
//! another one waits there, and never the low lane.

mod lane;
mod lanes;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
mod room;
mod row;
mod rules;
mod share;
#[cfg(test)]
mod tests;
mod turns;

use bytes::Bytes;
use common::close::CloseCode;

pub use self::rules::{CloseMode, Lane, Lost, Merge, Overflow, Pushed, Sent, Source, StreamKey};
use self::{lanes::Lanes, rules::Mark};
use crate::{
    flow::{Flow, FlowPolicy},
    frame::Frame,
};

/// A frame of the normal or low lane is sent after this many frames of higher lanes went before it.
pub const TURN: u8 = lanes::TURN;

#[derive(Debug)]
enum Phase {
    Open,
    /// The close frame is sent after everything else.
    Closing {
        since_ms: u64,
        code: CloseCode,
        frame: Option<Frame>,
    },
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Queue {
    lanes: Lanes,
    bytes: usize,
    max_bytes: usize,
    flow: Flow,
    lost: Lost,
    told_ms: u64,
    phase: Phase,
    /// Bytes written since `progressed_ms`.
    progress: usize,
    progressed_ms: u64,
}

/// The most that a queue holds, so that the bytes of a lane fit 32 bits together with the longest
/// frame.
const MAX_BYTES: usize = 1 << 31;
/// Frames of this length are written from where they are; shorter ones are copied together first.
const COPY_BELOW: usize = 8 * 1024;
/// A frame that grows by merging stops at this length.
const MERGED_BYTES: usize = 2 * 1024;
/// The part of the bound that a reader must take to count as reading: a 256th.
const PROGRESS_PART: usize = 256;
/// How often a reader that never catches up, because newer frames push older ones out, is told what
/// it lost.
const TELL_EVERY_MS: u64 = 1000;
/// A queue that is empty for so long releases its memory.
const IDLE_MS: u64 = 1000;

impl Queue {
    /// An empty queue that holds `max_bytes`, but not more than 2 GiB.
    pub fn new(max_bytes: usize, policy: &FlowPolicy, now_ms: u64) -> Self {
        Self {
            lanes: Lanes::new(max_bytes.min(MAX_BYTES)),
            bytes: 0,
            max_bytes: max_bytes.min(MAX_BYTES),
            flow: Flow::new(policy),
            lost: Lost::default(),
            told_ms: now_ms,
            phase: Phase::Open,
            progress: 0,
            progressed_ms: now_ms,
        }
    }

    fn bound(&self, lane: Lane) -> usize {
        match lane {
            Lane::Control => self.max_bytes + self.max_bytes / 4,
            Lane::High | Lane::Normal | Lane::Low => self.max_bytes,
        }
    }

    /// Puts an ephemeral frame into a lane.
    pub fn push(
        &mut self,
        lane: Lane,
        source: Source,
        frame: Frame,
        rule: Overflow,
        policy: &FlowPolicy,
        now_ms: impl Fn() -> u64,
    ) -> Pushed {
        if let Overflow::Latest(_) | Overflow::Merge(..) = rule
            && let Some(pushed) = self.conflate(lane, source, &frame, rule)
        {
            return pushed;
        }
        let mut pushed = self.put(lane, source, frame, Mark::of(rule), policy, now_ms);
        if pushed.sent == Sent::QueuedButPause && !rule.may_pause() {
            pushed.sent = Sent::Queued;
        }
        self.lost += pushed.lost;
        pushed
    }

    /// Puts a frame into a lane that can be read again from the log. It is never pushed out, does
    /// not overtake an earlier one of its kind, and is not counted as lost if it does not fit.
    pub fn offer(&mut self, lane: Lane, frame: Frame, policy: &FlowPolicy, now_ms: impl Fn() -> u64) -> Pushed {
        let lane = self.lanes.behind_durable(lane);
        let mut pushed = self.put(lane, Source::BRIDGE, frame, Mark::DURABLE, policy, now_ms);
        if pushed.sent == Sent::Dropped {
            pushed.lost = Lost::default();
        }
        self.lost += pushed.lost;
        pushed
    }

    fn put(
        &mut self,
        lane: Lane,
        source: Source,
        frame: Frame,
        mark: Mark,
        policy: &FlowPolicy,
        now_ms: impl Fn() -> u64,
    ) -> Pushed {
        if matches!(self.phase, Phase::Closing { .. }) {
            return Sent::Gone.into();
        }
        let mut lost = Lost::default();
        if self.bytes == 0 {
            self.progressed_ms = now_ms();
            self.progress = 0;
        } else if self.bytes + frame.len() > self.bound(lane) {
            match self.make_room(lane, source, frame.len(), mark) {
                Some(pushed_out) => lost = pushed_out,
                None => {
                    self.flow.on_full(now_ms(), policy);
                    return Pushed { sent: Sent::Dropped, lost: Lost::one(&frame), conflated: false };
                }
            }
        }
        self.bytes += frame.len();
        self.lanes.push(lane, source, frame, mark);
        let is_crowded = self.bytes > self.max_bytes / 2 && self.bytes - self.lanes.yielding() > self.max_bytes / 2;
        // A sender that has less of it than others is not the cause.
        let pause = is_crowded && self.flow.on_full(now_ms(), policy) && !self.lanes.is_light(source);
        Pushed { sent: if pause { Sent::QueuedButPause } else { Sent::Queued }, lost, conflated: false }
    }

    /// Pushes out frames to make room for `length` more bytes in a lane. `None`: that would not be
    /// enough.
    #[cold]
    fn make_room(&mut self, lane: Lane, source: Source, length: usize, mark: Mark) -> Option<Lost> {
        let needed = (self.bytes + length).saturating_sub(self.bound(lane));
        if needed == 0 {
            return Some(Lost::default());
        }
        let lost = self.lanes.make_room(lane, source, length, mark, needed)?;
        self.bytes -= lost.bytes as usize;
        Some(lost)
    }

    /// Replaces the newest waiting frame of its stream, or merges with it. `None`: it needs its own
    /// place.
    fn conflate(&mut self, lane: Lane, source: Source, frame: &Frame, rule: Overflow) -> Option<Pushed> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return None;
        }
        let is_behind = self.bytes > self.max_bytes / 4;
        let mark = Mark::of(rule);
        let waiting = self.lanes.find(lane, source, mark)?;
        let (older, frame) = match rule {
            Overflow::Merge(_, merge) => {
                if !is_behind || waiting.len() + frame.len() > MERGED_BYTES {
                    return None;
                }
                (waiting.len(), merge(waiting, frame)?)
            }
            _ => (waiting.len(), frame.clone()),
        };
        let mut lost = Lost::default();
        let growth = frame.len().saturating_sub(older);
        if growth > 0 && self.bytes + growth > self.bound(lane) {
            let room = self.make_room(lane, source, growth, mark);
            lost = room.unwrap_or_else(|| Lost::one(&frame));
            self.lost += lost;
            if room.is_none() {
                return Some(Pushed { sent: Sent::Dropped, lost, conflated: false });
            }
        }
        self.bytes = self.bytes + frame.len() - older;
        self.lanes.replace(lane, source, mark, frame);
        Some(Pushed { sent: Sent::Queued, lost, conflated: true })
    }

    /// Whether the writer has nothing to take.
    pub fn is_idle(&self) -> bool {
        self.lanes.is_empty() && !self.owes_close()
    }

    fn owes_close(&self) -> bool {
        matches!(self.phase, Phase::Closing { frame: Some(_), .. })
    }

    /// Bytes that wait, including those handed to the writer.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    pub fn frames(&self) -> usize {
        self.lanes.len() + usize::from(self.owes_close())
    }

    /// The state of the reader.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Takes what should be written next: either small frames, copied to the end of `copy` up to
    /// `limit` bytes, or one big frame.
    pub fn take(&mut self, copy: &mut Vec<u8>, limit: usize) -> Option<Bytes> {
        let strictly = matches!(self.phase, Phase::Closing { .. });
        while let Some((lane, next)) = self.lanes.next(strictly) {
            if !copy.is_empty() && copy.len() + next > limit {
                break;
            }
            let Some(frame) = self.lanes.pop(lane) else { break };
            if copy.is_empty() && next >= COPY_BELOW {
                return Some(frame.into_bytes());
            }
            copy.extend_from_slice(frame.bytes());
        }
        if let Phase::Closing { frame, .. } = &mut self.phase
            && self.lanes.is_empty()
            && let Some(close) = frame.take_if(|close| copy.is_empty() || copy.len() + close.len() <= limit)
        {
            copy.extend_from_slice(close.bytes());
        }
        None
    }

    /// Takes all frames, lane by lane.
    pub fn drain(&mut self) -> Vec<Frame> {
        let mut frames = self.lanes.drain();
        if let Phase::Closing { frame, .. } = &mut self.phase {
            frames.extend(frame.take());
        }
        self.bytes -= frames.iter().map(Frame::len).sum::<usize>();
        frames
    }

    /// The kernel took `written` bytes. Returns whether waiting senders must be woken, and what was
    /// lost if that can be told now.
    pub fn on_written(&mut self, written: usize, now_ms: u64) -> (bool, Option<Lost>) {
        self.bytes = self.bytes.saturating_sub(written);
        self.progress += written;
        if self.bytes == 0 || self.progress >= self.max_bytes / PROGRESS_PART {
            self.progressed_ms = now_ms;
            self.progress = 0;
        }
        let low_mark = self.max_bytes / 4;
        if self.bytes > low_mark && self.bytes.saturating_sub(self.lanes.yielding()) > low_mark {
            return (false, self.tell_lost(now_ms));
        }
        let wake = self.flow.on_drained(now_ms);
        (wake, self.tell_lost(now_ms))
    }

    /// What was lost, if it can be told now: at once to a reader that has caught up, now and then
    /// to one that stays behind.
    fn tell_lost(&mut self, now_ms: u64) -> Option<Lost> {
        let low_mark = self.max_bytes / 4;
        let may_tell = self.bytes <= low_mark || now_ms.saturating_sub(self.told_ms) >= TELL_EVERY_MS;
        if self.lost.count == 0 || !may_tell || !matches!(self.phase, Phase::Open) {
            return None;
        }
        self.told_ms = now_ms;
        Some(std::mem::take(&mut self.lost))
    }

    /// Time has passed. Returns whether waiting senders must be woken.
    pub fn on_tick(&mut self, now_ms: u64) -> bool {
        if self.lanes.is_empty() && now_ms.saturating_sub(self.progressed_ms) >= IDLE_MS {
            self.lanes.release();
        }
        self.flow.on_tick(now_ms)
    }

    /// For how long hardly anything could be written, in milliseconds. A reader that keeps reading
    /// is not stuck, however much is sent to it. Otherwise a sender could have it closed by sending
    /// more than it reads.
    pub fn stuck_for(&self, now_ms: u64) -> u64 {
        if self.bytes == 0 { 0 } else { now_ms.saturating_sub(self.progressed_ms) }
    }

    /// The bridge itself did nothing for `gap_ms`. That does not count against the reader.
    pub fn excuse(&mut self, gap_ms: u64) {
        self.progressed_ms += gap_ms;
        if let Phase::Closing { since_ms, .. } = &mut self.phase {
            *since_ms += gap_ms;
        }
    }

    /// Queues a close frame, after which nothing is accepted. Returns whether it was the first.
    pub fn close(&mut self, code: CloseCode, frame: Frame, mode: CloseMode, now_ms: u64) -> bool {
        if matches!(self.phase, Phase::Closing { .. }) {
            return false;
        }
        if mode == CloseMode::Discard {
            self.bytes -= self.lanes.discard_data();
        }
        self.bytes += frame.len();
        self.phase = Phase::Closing { since_ms: now_ms, code, frame: Some(frame) };
        true
    }

    /// The code with which the connection is closing, and since when.
    pub fn closing(&self) -> Option<(CloseCode, u64)> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing { since_ms, code, .. } => Some((code, since_ms)),
        }
    }

    /// Whether the close frame has been written.
    pub fn is_close_written(&self) -> bool {
        self.closing().is_some() && self.bytes == 0
    }
}
