//! What waits to be written to one connection: two lanes, a byte bound, and the rules at the bound. Pure.
//!
//! The bound counts bytes that are queued or handed to the writer and not yet accepted by the kernel. Data beyond it is dropped and
//! counted; one frame always fits an empty queue. The control lane overtakes data and may exceed the bound by a quarter.

use std::collections::VecDeque;

use bytes::Bytes;
use common::close::CloseCode;

use crate::{
    flow::{Flow, FlowPolicy},
    frame::Frame,
};

/// How frames leave: in order within a lane, control before data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Pings, closes, answers of the bridge, messages of high priority.
    Control,
    /// Everything else.
    Data,
}

/// What became of a frame that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits its turn.
    Queued,
    /// It waits its turn, and the sender should pause until [`crate::Link::poll_open`].
    QueuedButPause,
    /// The reader is too slow; the frame was dropped and counted.
    Dropped,
    /// The connection is closing or gone.
    Gone,
}

/// What happens to data that still waits when a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// It is written first.
    Flush,
    /// It is dropped.
    Discard,
}

/// Frames that were dropped because the reader was too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

#[derive(Debug)]
enum Phase {
    Open,
    Closing { since_ms: u64, code: CloseCode },
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Queue {
    control: VecDeque<Frame>,
    data: VecDeque<Frame>,
    bytes: usize,
    max_bytes: usize,
    flow: Flow,
    lost: Lost,
    phase: Phase,
    progressed_ms: u64,
}

/// Frames this long are written from where they lie; shorter ones are copied together first.
const COPY_BELOW: usize = 8 * 1024;
/// An emptied lane gives its memory back from this capacity on.
const KEEP_CAPACITY: usize = 16;

impl Queue {
    /// An empty queue that holds `max_bytes`.
    pub fn new(max_bytes: usize, policy: &FlowPolicy, now_ms: u64) -> Self {
        Self {
            control: VecDeque::new(),
            data: VecDeque::new(),
            bytes: 0,
            max_bytes,
            flow: Flow::new(policy),
            lost: Lost::default(),
            phase: Phase::Open,
            progressed_ms: now_ms,
        }
    }

    /// Whether a frame fits, or would be taken for another reason.
    pub fn has_room(&self, lane: Lane, frame: &Frame) -> bool {
        matches!(self.phase, Phase::Closing { .. }) || self.bytes == 0 || self.bytes + frame.len() <= self.bound(lane)
    }

    /// A frame did not fit that can be had again.
    pub fn note_full(&mut self, policy: &FlowPolicy, now_ms: u64) {
        self.flow.on_full(now_ms, policy);
    }

    fn bound(&self, lane: Lane) -> usize {
        match lane {
            Lane::Control => self.max_bytes + self.max_bytes / 4,
            Lane::Data => self.max_bytes,
        }
    }

    /// Puts a frame into a lane.
    pub fn push(&mut self, lane: Lane, frame: Frame, policy: &FlowPolicy, now_ms: impl Fn() -> u64) -> Sent {
        if matches!(self.phase, Phase::Closing { .. }) {
            return Sent::Gone;
        }
        if self.bytes == 0 {
            self.progressed_ms = now_ms();
        } else if self.bytes + frame.len() > self.bound(lane) {
            self.lost.count += 1;
            self.lost.bytes += frame.len() as u64;
            self.flow.on_full(now_ms(), policy);
            return Sent::Dropped;
        }
        self.bytes += frame.len();
        match lane {
            Lane::Control => self.control.push_back(frame),
            Lane::Data => self.data.push_back(frame),
        }
        if self.bytes > self.max_bytes / 2 && self.flow.on_full(now_ms(), policy) {
            return Sent::QueuedButPause;
        }
        Sent::Queued
    }

    /// Whether the writer has nothing to take.
    pub fn is_idle(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Bytes that wait, those handed to the writer included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    pub fn frames(&self) -> usize {
        self.control.len() + self.data.len()
    }

    /// Where the reader stands.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Takes what should be written next: either small frames copied to the end of `copy` up to `limit` bytes, or one big frame.
    pub fn take(&mut self, copy: &mut Vec<u8>, limit: usize) -> Option<Bytes> {
        while let Some(lane) = [&mut self.control, &mut self.data].into_iter().find(|lane| !lane.is_empty()) {
            let next = lane.front().map_or(0, Frame::len);
            if !copy.is_empty() && copy.len() + next > limit {
                break;
            }
            let Some(frame) = lane.pop_front() else { break };
            if lane.is_empty() && lane.capacity() > KEEP_CAPACITY {
                *lane = VecDeque::new();
            }
            if copy.is_empty() && next >= COPY_BELOW {
                return Some(frame.bytes().clone());
            }
            copy.extend_from_slice(frame.bytes());
        }
        None
    }

    /// Takes every frame out, in the order they would be written.
    pub fn drain(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = self.control.drain(..).chain(self.data.drain(..)).collect();
        self.bytes -= frames.iter().map(Frame::len).sum::<usize>();
        frames
    }

    /// The kernel took `written` bytes. Says whether waiting senders are to be woken, and what was lost if it can now be told.
    pub fn on_written(&mut self, written: usize, now_ms: u64) -> (bool, Option<Lost>) {
        self.bytes = self.bytes.saturating_sub(written);
        self.progressed_ms = now_ms;
        if self.bytes > self.max_bytes / 4 {
            return (false, None);
        }
        let wake = self.flow.on_drained(now_ms);
        let lost = std::mem::take(&mut self.lost);
        (wake, (lost.count > 0 && matches!(self.phase, Phase::Open)).then_some(lost))
    }

    /// Time has passed. Says whether waiting senders are to be woken.
    pub fn on_tick(&mut self, now_ms: u64) -> bool {
        self.flow.on_tick(now_ms)
    }

    /// For how long nothing could be written, or the reader did not keep up, whichever is longer; in milliseconds.
    pub fn stuck_for(&self, now_ms: u64) -> u64 {
        let still = if self.bytes == 0 { 0 } else { now_ms.saturating_sub(self.progressed_ms) };
        still.max(self.flow.behind_for(now_ms))
    }

    /// Queues a close frame, after which nothing is accepted. Says whether it was the first.
    pub fn close(&mut self, code: CloseCode, frame: Frame, mode: CloseMode, now_ms: u64) -> bool {
        if matches!(self.phase, Phase::Closing { .. }) {
            return false;
        }
        if mode == CloseMode::Discard {
            self.bytes -= self.data.iter().map(Frame::len).sum::<usize>();
            self.data = VecDeque::new();
        }
        self.bytes += frame.len();
        self.data.push_back(frame);
        self.phase = Phase::Closing { since_ms: now_ms, code };
        true
    }

    /// The code the connection is closing with, and since when.
    pub fn closing(&self) -> Option<(CloseCode, u64)> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing { since_ms, code } => Some((code, since_ms)),
        }
    }

    /// Whether the close frame has been written.
    pub fn is_close_written(&self) -> bool {
        self.closing().is_some() && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FlowPolicy = FlowPolicy { burst_ms: 250, share: 0.05 };

    fn queue() -> Queue {
        Queue::new(1000, &POLICY, 0)
    }

    fn frame(length: usize) -> Frame {
        Frame::from_encoded(vec![0; length].into())
    }

    fn push(queue: &mut Queue, lane: Lane, length: usize) -> Sent {
        queue.push(lane, frame(length), &POLICY, || 0)
    }

    fn drain(queue: &mut Queue) -> usize {
        let mut copy = Vec::new();
        while queue.take(&mut copy, usize::MAX).is_some() {}
        copy.len()
    }

    #[test]
    fn control_passes_data() {
        let mut queue = queue();
        push(&mut queue, Lane::Data, 10);
        push(&mut queue, Lane::Control, 20);
        let mut copy = Vec::new();
        assert_eq!(queue.take(&mut copy, 15), None);
        assert_eq!(copy.len(), 20);
    }

    #[test]
    fn senders_pause_at_half_and_frames_drop_at_the_bound() {
        let mut queue = queue();
        for _ in 0..5 {
            assert_eq!(push(&mut queue, Lane::Data, 100), Sent::Queued);
        }
        for _ in 0..5 {
            assert_eq!(push(&mut queue, Lane::Data, 100), Sent::QueuedButPause);
        }
        assert_eq!(push(&mut queue, Lane::Data, 100), Sent::Dropped);
        assert_eq!(push(&mut queue, Lane::Control, 100), Sent::QueuedButPause);
        assert_eq!(push(&mut queue, Lane::Control, 200), Sent::Dropped);
        assert_eq!(queue.bytes(), 1100);
        assert_eq!(drain(&mut queue), 1100);
        assert_eq!(queue.on_written(1000, 5), (true, Some(Lost { count: 2, bytes: 300 })));
    }

    #[test]
    fn one_frame_of_any_size_fits_an_empty_queue() {
        let mut queue = queue();
        assert_eq!(push(&mut queue, Lane::Data, 5000), Sent::QueuedButPause);
        assert_eq!(push(&mut queue, Lane::Data, 10), Sent::Dropped);
    }

    #[test]
    fn bytes_in_the_writers_hands_still_count() {
        let mut queue = queue();
        assert_eq!(push(&mut queue, Lane::Data, 900), Sent::QueuedButPause);
        assert_eq!(drain(&mut queue), 900);
        assert_eq!(push(&mut queue, Lane::Data, 200), Sent::Dropped);
        queue.on_written(900, 0);
        assert_eq!(push(&mut queue, Lane::Data, 200), Sent::Queued);
    }

    #[test]
    fn close_discards_or_flushes_and_is_the_last_frame() {
        let close = Frame::close(CloseCode::NORMAL, "", None);
        let mut queue = queue();
        push(&mut queue, Lane::Data, 100);
        assert!(queue.close(CloseCode::NORMAL, close.clone(), CloseMode::Discard, 0));
        assert!(!queue.close(CloseCode::INTERNAL, close.clone(), CloseMode::Discard, 0));
        assert_eq!(push(&mut queue, Lane::Control, 10), Sent::Gone);
        assert!(!queue.is_close_written());
        assert_eq!(drain(&mut queue), close.len());
        queue.on_written(close.len(), 0);
        assert!(queue.is_close_written());
    }

    #[test]
    fn a_queue_without_progress_is_stuck() {
        let mut queue = queue();
        queue.push(Lane::Data, frame(10), &POLICY, || 100);
        assert_eq!(queue.stuck_for(600), 500);
        drain(&mut queue);
        queue.on_written(10, 700);
        assert_eq!(queue.stuck_for(5000), 0);
    }
}
