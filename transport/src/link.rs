//! One connection as the rest of the process sees it: send to it, close it, wait for it, check it.
//! From any thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use common::{
    close::CloseCode,
    message::{Speaker, SystemMessage},
    timestamp::millis,
};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

pub use crate::queue::{CloseMode, Lane, Overflow, Sent, Source};
use crate::{
    clock::now_ms,
    flow::{FlowPolicy, FlowState},
    frame::Frame,
    liveness::Liveness,
    queue::{Lost, Pushed, Queue},
};

/// The rules that all connections of a server share, and their counters.
#[derive(Debug)]
pub struct LinkPolicy {
    /// Bytes that may wait for one reader.
    pub outbox_bytes: usize,
    /// How much a slow reader may slow its senders.
    pub flow: FlowPolicy,
    /// A reader that stays behind for so long is closed.
    pub slow_consumer_timeout: Duration,
    /// The time between two pings.
    pub ping_interval: Duration,
    /// A peer that is silent for so long is closed.
    pub silence_timeout: Duration,
    /// How long a closing connection may take to finish.
    pub close_grace: Duration,
    /// The `source` of the transport's own messages.
    pub speaker: Speaker,
    /// The counters.
    pub counts: LinkCounts,
}

/// Totals over all connections of a server.
#[derive(Debug, Default)]
pub struct LinkCounts {
    /// Frames dropped because their reader was too slow.
    pub dropped_frames: AtomicU64,
    /// Bytes of those.
    pub dropped_bytes: AtomicU64,
    /// Frames that a newer one replaced or was merged with.
    pub conflated_frames: AtomicU64,
    /// How often senders were paused for a reader.
    pub pauses: AtomicU64,
    /// Connections closed as slow consumers.
    pub slow_consumers: AtomicU64,
    /// Connections closed for silence.
    pub silent: AtomicU64,
    /// Bytes written to sockets.
    pub bytes_out: AtomicU64,
    /// Bytes read from sockets.
    pub bytes_in: AtomicU64,
}

/// The shared half of one connection.
#[derive(Debug)]
pub struct Link {
    policy: Arc<LinkPolicy>,
    queue: Mutex<Queue>,
    /// Senders that wait for a slow reader. Bounded by the number of connections.
    waiting: Mutex<Vec<Waker>>,
    writer: AtomicWaker,
    seen_ms: AtomicU64,
    /// Bytes that the kernel has taken.
    written: AtomicU64,
    liveness: Mutex<Liveness>,
    pinged_ms: AtomicU64,
    /// Its peer is not being read, so its silence does not count.
    held: AtomicBool,
    killed: AtomicBool,
    ended: AtomicBool,
    /// Close frames to a server carry a mask.
    masks: bool,
}

impl Link {
    /// The link of a fresh connection to a client.
    pub fn new(policy: Arc<LinkPolicy>) -> Arc<Self> {
        Self::with_masking(policy, false)
    }

    /// The link of a fresh connection to a server.
    pub fn to_server(policy: Arc<LinkPolicy>) -> Arc<Self> {
        Self::with_masking(policy, true)
    }

    fn with_masking(policy: Arc<LinkPolicy>, masks: bool) -> Arc<Self> {
        let now = now_ms();
        Arc::new(Self {
            queue: Mutex::new(Queue::new(policy.outbox_bytes, &policy.flow, now)),
            policy,
            waiting: Mutex::new(Vec::new()),
            writer: AtomicWaker::new(),
            seen_ms: AtomicU64::new(now),
            written: AtomicU64::new(0),
            liveness: Mutex::default(),
            pinged_ms: AtomicU64::new(now),
            held: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            masks,
        })
    }

    /// The rules of this connection.
    pub fn policy(&self) -> &LinkPolicy {
        &self.policy
    }

    /// Sends a frame. If it does not fit, it is dropped.
    pub fn send(&self, lane: Lane, frame: Frame) -> Sent {
        self.send_with(lane, frame, Overflow::DropNewest)
    }

    /// Sends a frame with a rule for a reader that is behind.
    pub fn send_with(&self, lane: Lane, frame: Frame, rule: Overflow) -> Sent {
        self.send_from(Source::BRIDGE, lane, frame, rule)
    }

    /// Sends a frame of one of many senders, which take turns if the reader is behind.
    pub fn send_from(&self, source: Source, lane: Lane, frame: Frame, rule: Overflow) -> Sent {
        let mut queue = self.queue.lock();
        let was_idle = queue.is_idle();
        let pushed = queue.push(lane, source, frame, rule, &self.policy.flow, now_ms);
        drop(queue);
        self.on_pushed(pushed, was_idle)
    }

    /// Sends a frame that can be read again from the log. Nothing pushes it out. If it does not
    /// fit, it is not counted as dropped and not reported. Such frames arrive in the order in which
    /// they were offered, whatever their lanes.
    pub fn offer(&self, lane: Lane, frame: Frame) -> Sent {
        let mut queue = self.queue.lock();
        let was_idle = queue.is_idle();
        let pushed = queue.offer(lane, frame, &self.policy.flow, now_ms);
        drop(queue);
        self.on_pushed(pushed, was_idle)
    }

    fn on_pushed(&self, pushed: Pushed, was_idle: bool) -> Sent {
        let Pushed { sent, lost, conflated } = pushed;
        let counts = &self.policy.counts;
        if lost.count > 0 {
            counts.dropped_frames.fetch_add(lost.count, Relaxed);
            counts.dropped_bytes.fetch_add(lost.bytes, Relaxed);
        }
        if conflated {
            counts.conflated_frames.fetch_add(1, Relaxed);
        }
        if was_idle && sent.is_queued() {
            self.writer.wake();
        }
        sent
    }

    /// Closes the connection. Only the first close has an effect.
    pub fn close(&self, code: CloseCode, reason: &str, mode: CloseMode) {
        let mask = self.masks.then(|| (now_ms() as u32 ^ 0x5bd1_e995).to_ne_bytes());
        let frame = Frame::close(code, reason, mask);
        if self.queue.lock().close(code, frame, mode, now_ms()) {
            self.wake_waiting();
            self.writer.wake();
        }
    }

    /// Drops the socket without a close frame.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.wake_waiting();
        self.writer.wake();
    }

    /// Wakes the connection's task to check whether it may read again.
    pub fn wake(&self) {
        self.writer.wake();
    }

    /// Ready while senders need not pause for this reader.
    pub fn poll_open(&self, task: &mut Context<'_>) -> Poll<()> {
        let queue = self.queue.lock();
        if queue.closing().is_some() || !matches!(queue.flow().state(), FlowState::Choked { .. }) || self.is_over() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|waker| waker.will_wake(task.waker())) {
            if waiting.is_empty() {
                self.policy.counts.pauses.fetch_add(1, Relaxed);
            }
            waiting.push(task.waker().clone());
        }
        Poll::Pending
    }

    /// Takes all waiting frames, in the order in which they would be written: for an owner that is
    /// not a [`crate::Pump`].
    pub fn drain(&self) -> Vec<Frame> {
        self.queue.lock().drain()
    }

    /// Waits for frames and takes them, for an owner that is not a [`crate::Pump`]. One task may
    /// wait. Ready without frames when the connection is over.
    pub fn poll_frames(&self, task: &mut Context<'_>) -> Poll<Vec<Frame>> {
        // Before the look: a frame may come right after it.
        self.writer.register(task.waker());
        let frames = self.drain();
        if frames.is_empty() && !self.is_over() {
            return Poll::Pending;
        }
        let (wake, _) = self.queue.lock().on_written(0, now_ms());
        if wake {
            self.wake_waiting();
        }
        Poll::Ready(frames)
    }

    /// Bytes and frames that wait.
    pub fn depth(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.bytes(), queue.frames())
    }

    /// The code the connection is closing with.
    pub fn closing(&self) -> Option<CloseCode> {
        self.queue.lock().closing().map(|(code, _)| code)
    }

    /// Whether the socket is closed or about to be dropped.
    pub fn is_over(&self) -> bool {
        self.ended.load(Relaxed) || self.killed.load(Relaxed)
    }

    /// The peer was heard.
    pub fn touch(&self) {
        self.seen_ms.store(now_ms(), Relaxed);
    }

    /// Checks the connection: sends a ping when it is due, closes the connection if it is silent or
    /// too slow, and drops it if it does not finish closing.
    pub fn judge(&self, now_ms: u64) {
        let (stuck_for, closing, wake, unread) = {
            let mut queue = self.queue.lock();
            let wake = queue.on_tick(now_ms);
            (queue.stuck_for(now_ms), queue.closing(), wake, queue.bytes() > 0)
        };
        if wake {
            self.wake_waiting();
        }
        if let Some((_, since_ms)) = closing {
            if now_ms.saturating_sub(since_ms) >= millis(self.policy.close_grace) {
                self.kill();
            }
            return;
        }
        if stuck_for >= millis(self.policy.slow_consumer_timeout) {
            self.policy.counts.slow_consumers.fetch_add(1, Relaxed);
            self.close(CloseCode::SLOW_CONSUMER, "read too slowly", CloseMode::Discard);
            return;
        }
        let heard_ms = self.seen_ms.load(Relaxed);
        let mut liveness = self.liveness.lock();
        liveness.on_tick(now_ms, heard_ms, self.written.load(Relaxed), unread);
        let is_silent = liveness.is_silent(now_ms, heard_ms, millis(self.policy.silence_timeout));
        drop(liveness);
        if is_silent && !self.held.load(Relaxed) {
            self.policy.counts.silent.fetch_add(1, Relaxed);
            self.close(CloseCode::HEARTBEAT_TIMEOUT, "nothing heard within the heartbeat timeout", CloseMode::Discard);
            return;
        }
        if now_ms.saturating_sub(self.pinged_ms.load(Relaxed)) >= millis(self.policy.ping_interval) {
            self.pinged_ms.store(now_ms, Relaxed);
            // Also if bytes wait: a reader that never catches up entirely gets pings all the same.
            if !self.masks {
                self.send(Lane::Control, Frame::ping());
            }
        }
    }

    /// The bridge itself did nothing for `gap_ms`: it neither read nor sent pings. It reads what
    /// the kernel holds before the connection is checked again. The connection's time continues
    /// from where it was.
    pub(crate) fn excuse(&self, gap_ms: u64) {
        self.seen_ms.fetch_add(gap_ms, Relaxed);
        self.liveness.lock().excuse(gap_ms);
        self.queue.lock().excuse(gap_ms);
    }

    /// Sets whether the peer is not being read.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
        self.touch();
    }

    pub(crate) fn register_writer(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    pub(crate) fn take(&self, copy: &mut Vec<u8>, limit: usize) -> Option<Bytes> {
        self.queue.lock().take(copy, limit)
    }

    pub(crate) fn on_written(&self, written: usize) {
        self.policy.counts.bytes_out.fetch_add(written as u64, Relaxed);
        self.written.fetch_add(written as u64, Relaxed);
        let (wake, lost) = self.queue.lock().on_written(written, now_ms());
        if wake {
            self.wake_waiting();
        }
        if let Some(Lost { count, bytes }) = lost {
            let notice = SystemMessage::Lost { count, bytes, reason: "read too slowly" };
            self.send(Lane::Control, Frame::text(&notice.encode(self.policy.speaker, None, None)));
        }
    }

    pub(crate) fn is_close_written(&self) -> bool {
        self.queue.lock().is_close_written()
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        for waker in std::mem::take(&mut *self.waiting.lock()) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn policy() -> Arc<LinkPolicy> {
        Arc::new(LinkPolicy {
            outbox_bytes: 1000,
            flow: FlowPolicy { burst_ms: 250, share: 0.05 },
            slow_consumer_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(30),
            close_grace: Duration::from_secs(2),
            speaker: Speaker::Bridge,
            counts: LinkCounts::default(),
        })
    }

    fn is_open(link: &Link) -> bool {
        link.poll_open(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn pings_are_sent_when_due_and_silence_is_closed() {
        let link = Link::new(policy());
        let start = now_ms();
        link.judge(start);
        assert_eq!(link.depth(), (0, 0));
        link.judge(start + 5_001);
        assert_eq!(link.depth(), (2, 1));
        link.on_written(2);
        link.judge(start + 30_001);
        assert_eq!(link.closing(), Some(CloseCode::HEARTBEAT_TIMEOUT));
        assert!(!link.is_over());
        link.judge(now_ms() + 3_000);
        assert!(link.is_over());
    }

    #[test]
    fn a_stall_of_the_bridge_counts_as_nobodys_silence_or_slowness() {
        let link = Link::new(policy());
        let start = now_ms();
        link.send(Lane::Normal, Frame::text(&"x".repeat(250)));
        link.judge(start + 1_000);
        link.excuse(40_000);
        link.judge(start + 41_100);
        assert_eq!(link.closing(), None);
        // From then on its time continues.
        link.judge(start + 40_000 + 10_100);
        assert_eq!(link.closing(), Some(CloseCode::SLOW_CONSUMER));
    }

    #[test]
    fn a_peer_for_which_bytes_wait_is_pinged_all_the_same() {
        let link = Link::new(policy());
        link.send(Lane::Normal, Frame::text("x"));
        let (_, waiting) = link.depth();
        link.judge(now_ms() + 5_100);
        assert_eq!(link.depth().1, waiting + 1);
    }

    #[test]
    fn an_owner_without_a_pump_gets_the_frames_and_lets_senders_go_on() {
        let link = Link::new(policy());
        let mut task = Context::from_waker(Waker::noop());
        assert!(link.poll_frames(&mut task).is_pending());
        let frame = Frame::text(&"x".repeat(250));
        while link.send(Lane::Normal, frame.clone()) != Sent::QueuedButPause {}
        assert!(!is_open(&link));
        assert!(matches!(link.poll_frames(&mut task), Poll::Ready(frames) if frames.len() == 2));
        assert!(is_open(&link) && link.depth() == (0, 0));
        link.kill();
        assert_eq!(link.poll_frames(&mut task), Poll::Ready(Vec::new()));
    }

    #[test]
    fn a_peer_that_is_not_read_is_not_silent() {
        let link = Link::new(policy());
        let start = now_ms();
        link.hold(true);
        link.judge(start + 31_000);
        assert_eq!(link.closing(), None);
        link.on_written(2);
        link.hold(false);
        link.judge(now_ms() + 30_001);
        assert_eq!(link.closing(), Some(CloseCode::HEARTBEAT_TIMEOUT));
    }

    #[test]
    fn a_stuck_reader_pauses_senders_briefly_and_is_closed_as_slow() {
        let link = Link::new(policy());
        let frame = Frame::text(&"x".repeat(250));
        assert_eq!(link.send(Lane::Normal, frame.clone()), Sent::Queued);
        link.send(Lane::Normal, frame.clone());
        assert_eq!(link.send(Lane::Normal, frame.clone()), Sent::QueuedButPause);
        assert!(!is_open(&link));
        let now = now_ms();
        link.judge(now + 300);
        assert!(is_open(&link));
        link.send(Lane::Normal, frame.clone());
        assert_eq!(link.send(Lane::Normal, frame), Sent::Dropped);
        link.judge(now + 10_100);
        assert_eq!(link.closing(), Some(CloseCode::SLOW_CONSUMER));
        assert_eq!(link.policy().counts.slow_consumers.load(Relaxed), 1);
    }

    #[test]
    fn a_reader_that_catches_up_is_told_what_it_lost() {
        let link = Link::new(policy());
        for _ in 0..5 {
            link.send(Lane::Normal, Frame::text(&"x".repeat(250)));
        }
        let mut copy = Vec::new();
        link.take(&mut copy, usize::MAX);
        link.on_written(copy.len());
        copy.clear();
        link.take(&mut copy, usize::MAX);
        let notice = String::from_utf8_lossy(&copy).into_owned();
        assert!(notice.contains(r#""type":"system:lost""#) && notice.contains(r#""count":2"#), "{notice}");
    }
}
