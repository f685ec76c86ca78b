//! How many bytes of durable messages may be on their way to one reader. Pure, and shared without a
//! lock, because every live delivery checks it.
//!
//! What was sent to a reader is in its outbox and in the kernels' buffers until it reads. The
//! window bounds that, as TCP's does. It begins small, grows by what is confirmed while
//! confirmations come soon, and shrinks to what the reader takes within [`Window::target_ms`] when
//! they come late. So there is little before a slow reader's pings, and what it has read is
//! confirmed in steps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes at the beginning.
const FIRST: u64 = 128 * 1024;
/// The smallest window. One message always fits if nothing is on its way.
const SMALLEST: u64 = 4 * 1024;
/// The greatest: what a reader takes at 40 MB/s with a confirmation after 100 ms.
const GREATEST: u64 = 4 * 1024 * 1024;
/// A mark follows after this part of the window: an eighth.
const MARKS_PER_WINDOW: u64 = 8;
/// Marks are not further apart than this.
const LONGEST_PORTION: u64 = 256 * 1024;
/// A confirmation takes longer than this only if the reader is slow, in milliseconds.
const SLOW_MS: u64 = 1000;

/// The window of one reader.
#[derive(Debug)]
pub struct Window {
    /// Bytes sent in all.
    given: AtomicU64,
    /// Of those, bytes before the newest mark.
    marked: AtomicU64,
    /// Of those, bytes that have arrived.
    confirmed: AtomicU64,
    size: AtomicU64,
    /// The shortest time to a confirmation so far.
    shortest_ms: AtomicU64,
    target_ms: u64,
}

/// What a mark stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Bytes sent before it.
    through: u64,
    /// Bytes on their way when it was sent.
    under_way: u64,
    sent_ms: u64,
}

impl Stretch {
    /// When the mark was sent, in milliseconds of the clock.
    pub fn sent_ms(&self) -> u64 {
        self.sent_ms
    }
}

impl Window {
    /// The window of a new reader that is closed when it is silent for `silence_ms`.
    pub fn new(silence_ms: u64) -> Self {
        Self {
            given: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            size: AtomicU64::new(FIRST),
            shortest_ms: AtomicU64::new(u64::MAX),
            target_ms: SLOW_MS.min(silence_ms / 8).max(1),
        }
    }

    /// Whether so many more bytes may be sent.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        let under_way = self.under_way();
        under_way == 0 || under_way + bytes as u64 <= self.size.load(Relaxed)
    }

    /// Bytes that may be sent now. One message may be longer if nothing is on its way.
    pub fn room(&self) -> u64 {
        self.size.load(Relaxed).saturating_sub(self.under_way())
    }

    /// Bytes sent and not confirmed.
    pub fn under_way(&self) -> u64 {
        let confirmed = self.confirmed.load(Relaxed);
        self.given.load(Relaxed).saturating_sub(confirmed)
    }

    /// A message was sent. Returns whether a mark should follow.
    #[inline]
    pub fn on_given(&self, bytes: usize) -> bool {
        let given = self.given.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        let portion = (self.size.load(Relaxed) / MARKS_PER_WINDOW).min(LONGEST_PORTION);
        given.saturating_sub(self.marked.load(Relaxed)) >= portion
    }

    /// Whether something was sent after the newest mark.
    pub fn is_unmarked(&self) -> bool {
        self.given.load(Relaxed) > self.marked.load(Relaxed)
    }

    /// A mark is sent now.
    pub fn mark(&self, now_ms: u64) -> Stretch {
        let through = self.given.load(Relaxed);
        self.marked.store(through, Relaxed);
        Stretch { through, under_way: through.saturating_sub(self.confirmed.load(Relaxed)), sent_ms: now_ms }
    }

    /// The mark could not be sent; the one before it was `newest`.
    pub fn unmark(&self, newest: Option<Stretch>) {
        let before = newest.map_or_else(|| self.confirmed.load(Relaxed), |newest| newest.through);
        self.marked.store(before, Relaxed);
    }

    /// A mark was answered, and with it all earlier ones.
    pub fn confirm(&self, mark: Stretch, now_ms: u64) {
        let arrived = mark.through.saturating_sub(self.confirmed.load(Relaxed));
        self.confirmed.fetch_max(mark.through, Relaxed);
        let took = now_ms.saturating_sub(mark.sent_ms);
        let shortest = self.shortest_ms.fetch_min(took, Relaxed).min(took);
        // The time of the way itself is not the reader's slowness, as far as that is credible.
        let waited = took - shortest.min(self.target_ms);
        let size = self.size.load(Relaxed);
        if waited > self.target_ms {
            let taken_in_time = mark.under_way.saturating_mul(self.target_ms) / waited;
            self.size.store(taken_in_time.clamp(SMALLEST, size.max(SMALLEST)), Relaxed);
        } else if waited <= self.target_ms / 2 && mark.under_way >= size / 4 {
            self.size.store((size + arrived).min(GREATEST), Relaxed);
        }
    }

    /// The size, in bytes.
    #[cfg(test)]
    pub fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A reader that takes so many bytes in a second, one message after another, and confirms
    /// `away_ms` later. Returns the time in milliseconds, the greatest window, the longest time
    /// without a confirmation, and the most that was unconfirmed after the first second.
    fn read(total: u64, message: u64, per_second: u64, away_ms: u64) -> (u64, u64, u64, u64) {
        let window = Window::new(30_000);
        let (mut given, mut read_by, mut now) = (0, 0_f64, 0_u64);
        let mut marks: VecDeque<(Stretch, f64)> = VecDeque::new();
        let (mut greatest, mut longest, mut heard, mut most) = (0, 0, 0, 0);
        while given < total || window.under_way() > 0 {
            while given < total && window.has_room(message as usize) {
                given += message;
                read_by = read_by.max(now as f64) + message as f64 * 1000.0 / per_second as f64;
                if window.on_given(message as usize) {
                    marks.push_back((window.mark(now), read_by + away_ms as f64));
                }
            }
            if window.is_unmarked() {
                marks.push_back((window.mark(now), read_by + away_ms as f64));
            }
            if now > 1000 {
                most = most.max(window.under_way());
            }
            let Some((mark, at)) = marks.pop_front() else { break };
            now = now.max(at.ceil() as u64);
            longest = longest.max(now - heard);
            heard = now;
            window.confirm(mark, now);
            greatest = greatest.max(window.size());
        }
        (now, greatest, longest, most)
    }

    #[test]
    fn a_slow_reader_answers_often_and_has_little_before_it() {
        let (took, _, longest, most) = read(15_000_000, 10_000, 250_000, 1);
        assert!(took < 61_000, "{took}: it never waits");
        assert!(longest < 1_000, "{longest}");
        assert!(most <= 640 * 1024, "{most}");
        let (took, _, longest, most) = read(2_000_000, 1_000, 125_000, 1);
        assert!(took < 17_000 && longest < 1_000 && most <= 384 * 1024, "{took} {longest} {most}");
    }

    #[test]
    fn a_very_slow_reader_answers_within_any_timeout_after_its_first_window() {
        let (took, greatest, longest, most) = read(200_000, 1_000, 1_000, 1);
        assert!(took < 201_000 && greatest <= FIRST, "{took} {greatest}");
        assert!(longest <= 18_000 && most <= FIRST, "{longest} {most}");
    }

    #[test]
    fn a_fast_reader_is_hardly_held_up_however_far_away() {
        // On this machine, at 1 GB/s: the first windows alone cost some round trips.
        let (took, greatest, ..) = read(100_000_000, 1_000, 1_000_000_000, 1);
        assert!(took <= 130 && greatest == GREATEST, "{took} {greatest}");
        // Around the world, at 10 MB/s.
        let (took, ..) = read(100_000_000, 1_000, 10_000_000, 300);
        assert!(took <= 14_000, "{took}");
    }

    #[test]
    fn a_message_larger_than_the_window_is_sent_alone() {
        let window = Window::new(30_000);
        assert!(window.has_room(10_000_000));
        assert!(window.on_given(10_000_000));
        assert!(!window.has_room(1));
        let mark = window.mark(0);
        window.confirm(mark, 10_000);
        assert!(window.has_room(10_000_000));
    }

    #[test]
    fn a_mark_that_could_not_be_sent_marks_nothing() {
        let window = Window::new(30_000);
        window.on_given(10);
        let first = window.mark(0);
        window.on_given(10);
        window.mark(0);
        window.unmark(Some(first));
        assert!(window.is_unmarked());
        window.confirm(first, 1);
        assert_eq!(window.under_way(), 10);
    }
}
