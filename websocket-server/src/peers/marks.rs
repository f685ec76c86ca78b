//! What a receiver was sent and has not confirmed. Pure.
//!
//! A mark is a ping behind messages: its pong says that everything before the ping has arrived.
//! Several may be on their way. A pong confirms its own mark and all earlier ones, because a client
//! need answer only the latest of several pings (RFC 6455, section 5.5.3). Each mark has its own
//! number and none is sent twice, so that a pong tells which ping it answers.

use std::{collections::VecDeque, sync::LazyLock};

use foldhash::HashMap;
use store::ChannelName;

use super::window::{Stretch, Window};

/// The most marks on their way to one receiver. A further one replaces the newest.
const MOST: usize = 64;
/// How long to wait for a pong before another mark is sent, at first, in milliseconds. If a mark
/// and a heartbeat come together, a client may answer only the heartbeat.
const ASK_AGAIN_MS: u64 = 1000;
/// The longest such wait. The wait doubles each time.
const ASK_AGAIN_AT_LAST_MS: u64 = 8000;

/// Distinguishes marks of this process from those of an earlier one, whose pongs may still come
/// through the edge.
static PREFIX: LazyLock<String> = LazyLock::new(|| format!("{}-", &uuid::Uuid::new_v4().simple().to_string()[..12]));

/// The numbers up to which messages of channels were sent.
pub type Given = HashMap<ChannelName, u64>;

/// The payload of a mark's ping.
pub fn mark_text(number: u64) -> Vec<u8> {
    format!("{}{number}", *PREFIX).into_bytes()
}

/// The number of the mark that a pong answers, if it is one of this process. A heartbeat's pong is
/// empty.
pub fn mark_of(pong: &[u8]) -> Option<u64> {
    std::str::from_utf8(pong).ok()?.strip_prefix(&**PREFIX)?.parse().ok()
}

#[derive(Debug)]
struct Mark {
    number: u64,
    /// Sent before it, and after the former mark.
    given: Given,
    stretch: Stretch,
}

/// The marks of one receiver.
#[derive(Debug, Default)]
pub struct Marks {
    /// Sent since the last mark.
    given: Given,
    /// The marks on their way, the oldest first.
    marks: VecDeque<Mark>,
    last: u64,
    /// How many marks were sent since the last pong.
    asked: u32,
}

impl Marks {
    /// The receiver was sent everything of a channel up to a number.
    pub fn on_given(&mut self, channel: ChannelName, seq: u64) {
        raise(&mut self.given, channel, seq);
    }

    /// The receiver no longer reads the channel.
    pub fn forget(&mut self, channel: &ChannelName) {
        self.given.remove(channel);
        for mark in &mut self.marks {
            mark.given.remove(channel);
        }
    }

    /// The number of the ping to send now, if anything was sent since the last one.
    pub fn begin(&mut self, window: &Window, now_ms: u64) -> Option<u64> {
        if self.given.is_empty() && !window.is_unmarked() {
            return None;
        }
        Some(self.push(window, now_ms))
    }

    /// The same at a regular check: while a mark is on its way the next one waits for its pong,
    /// unless that is overdue.
    pub fn begin_regular(&mut self, window: &Window, now_ms: u64) -> Option<u64> {
        let Some(newest) = self.marks.back() else { return self.begin(window, now_ms) };
        let wait = (ASK_AGAIN_MS << self.asked.min(8)).min(ASK_AGAIN_AT_LAST_MS);
        if now_ms.saturating_sub(newest.stretch.sent_ms()) < wait {
            return None;
        }
        self.asked += 1;
        Some(self.push(window, now_ms))
    }

    fn push(&mut self, window: &Window, now_ms: u64) -> u64 {
        let mut given = std::mem::take(&mut self.given);
        if self.marks.len() >= MOST
            && let Some(newest) = self.marks.pop_back()
        {
            newest.given.into_iter().for_each(|(channel, seq)| raise(&mut given, channel, seq));
        }
        self.last += 1;
        self.marks.push_back(Mark { number: self.last, given, stretch: window.mark(now_ms) });
        self.last
    }

    /// The newest ping could not be sent.
    pub fn not_sent(&mut self, window: &Window) {
        for (channel, seq) in self.marks.pop_back().map(|mark| mark.given).unwrap_or_default() {
            raise(&mut self.given, channel, seq);
        }
        window.unmark(self.marks.back().map(|mark| mark.stretch));
    }

    /// The receiver answered a ping: returns what has arrived. `None`: that is known already, or no
    /// mark was sent.
    pub fn confirmed(&mut self, number: u64, window: &Window, now_ms: u64) -> Option<Given> {
        if number > self.last {
            return None;
        }
        let mut given: Option<Given> = None;
        while self.marks.front().is_some_and(|mark| mark.number <= number)
            && let Some(mark) = self.marks.pop_front()
        {
            window.confirm(mark.stretch, now_ms);
            match &mut given {
                Some(given) => mark.given.into_iter().for_each(|(channel, seq)| raise(given, channel, seq)),
                None => given = Some(mark.given),
            }
            self.asked = 0;
        }
        given
    }

    /// Whether something of a channel waits to be confirmed.
    pub fn knows(&self, channel: &ChannelName) -> bool {
        self.given.contains_key(channel) || self.marks.iter().any(|mark| mark.given.contains_key(channel))
    }

    /// Whether nothing waits to be confirmed.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.marks.is_empty()
    }
}

fn raise(given: &mut Given, channel: ChannelName, seq: u64) {
    let known = given.entry(channel).or_default();
    *known = seq.max(*known);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("a channel")
    }

    fn of(name: &str, seq: u64) -> Option<Given> {
        Some(Given::from_iter([(channel(name), seq)]))
    }

    #[test]
    fn a_pong_confirms_what_was_given_before_its_ping_and_nothing_else() {
        let (mut marks, window) = (Marks::default(), Window::new(30_000));
        assert_eq!(marks.begin(&window, 0), None);
        marks.on_given(channel("agent:a"), 5);
        let first = marks.begin(&window, 0).expect("a ping");
        marks.on_given(channel("agent:a"), 9);
        assert_eq!(marks.begin_regular(&window, 0), None, "its pong is waited for");
        assert_eq!(marks.confirmed(first + 1, &window, 0), None, "not a pong of ours");
        assert_eq!(marks.confirmed(first, &window, 0), of("agent:a", 5));
        assert_eq!(marks.confirmed(first, &window, 0), None, "once");
        let second = marks.begin_regular(&window, 0).expect("a ping");
        assert_eq!(marks.confirmed(second, &window, 0), of("agent:a", 9));
        assert!(marks.is_empty());
    }

    #[test]
    fn a_pong_of_the_latest_ping_alone_confirms_all_earlier_ones() {
        let (mut marks, window) = (Marks::default(), Window::new(30_000));
        for (seq, bytes) in [(1, 100), (2, 200), (3, 300)] {
            marks.on_given(channel("agent:a"), seq);
            window.on_given(bytes);
            marks.begin(&window, 0).expect("a ping");
        }
        assert_eq!(window.under_way(), 600);
        assert_eq!(marks.confirmed(2, &window, 1), of("agent:a", 2));
        assert_eq!(window.under_way(), 300);
        assert_eq!(marks.confirmed(1, &window, 1), None);
        assert_eq!(marks.confirmed(3, &window, 1), of("agent:a", 3));
        assert_eq!(window.under_way(), 0);
    }

    #[test]
    fn a_peer_that_answers_another_ping_is_asked_again_with_a_new_number() {
        let (mut marks, window) = (Marks::default(), Window::new(30_000));
        marks.on_given(channel("agent:a"), 1);
        let first = marks.begin(&window, 0).expect("a ping");
        assert_eq!(marks.begin_regular(&window, 999), None);
        let second = marks.begin_regular(&window, 1000).expect("asked again");
        assert!(second > first);
        assert_eq!(marks.begin_regular(&window, 2999), None, "the wait doubles");
        assert!(marks.begin_regular(&window, 3000).is_some());
        assert_eq!(marks.confirmed(second, &window, 3000), of("agent:a", 1));
    }

    #[test]
    fn however_many_are_unanswered_they_are_bounded_and_nothing_is_forgotten() {
        let (mut marks, window) = (Marks::default(), Window::new(30_000));
        for seq in 1..=1000 {
            marks.on_given(channel("agent:a"), seq);
            marks.begin(&window, 0).expect("a ping");
            assert!(marks.marks.len() <= MOST);
        }
        assert_eq!(marks.confirmed(1000, &window, 0), of("agent:a", 1000));
        assert!(marks.is_empty());
    }

    #[test]
    fn unsent_marks_are_asked_again_except_for_forgotten_channels() {
        let (mut marks, window) = (Marks::default(), Window::new(30_000));
        marks.on_given(channel("topic:t"), 5);
        marks.on_given(channel("topic:u"), 7);
        marks.begin(&window, 0).expect("a ping");
        marks.on_given(channel("topic:t"), 6);
        marks.not_sent(&window);
        marks.forget(&channel("topic:u"));
        let mark = marks.begin(&window, 0).expect("a ping");
        assert_eq!(marks.confirmed(mark, &window, 0), of("topic:t", 6));
    }

    #[test]
    fn a_mark_is_known_by_its_payload_and_a_heartbeat_is_none() {
        assert_eq!(mark_of(&mark_text(42)), Some(42));
        assert_eq!([&b""[..], b"42", b"another-42", &[0xff]].map(mark_of), [None; 4]);
    }
}
