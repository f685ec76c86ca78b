//! What a receiver was given and has not confirmed. Pure.
//!
//! A receiver that does not acknowledge itself is asked by a ping that follows what it was given: its pong says that everything
//! before the ping has reached it. One ping at a time is under way to each.

use foldhash::HashMap;
use store::ChannelName;

/// Numbers up to which channels were given.
pub type Given = HashMap<ChannelName, u64>;

/// The marks of one receiver.
#[derive(Debug, Default)]
pub struct Marks {
    /// Given since the last mark.
    given: Given,
    /// Given before the mark that is under way.
    marked: Option<(u64, Given)>,
    last: u64,
}

impl Marks {
    /// The receiver was given everything of a channel up to a number.
    pub fn on_given(&mut self, channel: ChannelName, seq: u64) {
        raise(&mut self.given, channel, seq);
    }

    /// The receiver does not read the channel any more.
    pub fn forget(&mut self, channel: &ChannelName) {
        self.given.remove(channel);
        if let Some((_, given)) = &mut self.marked {
            given.remove(channel);
        }
    }

    /// The number of the ping that is to be sent now, if one is.
    pub fn begin(&mut self) -> Option<u64> {
        if self.marked.is_some() || self.given.is_empty() {
            return None;
        }
        self.last += 1;
        self.marked = Some((self.last, std::mem::take(&mut self.given)));
        Some(self.last)
    }

    /// The ping could not be sent.
    pub fn not_sent(&mut self) {
        for (channel, seq) in self.marked.take().map(|(_, marked)| marked).unwrap_or_default() {
            raise(&mut self.given, channel, seq);
        }
    }

    /// The receiver answered a ping: what has reached it.
    pub fn confirmed(&mut self, mark: u64) -> Option<Given> {
        self.marked.take_if(|(under_way, _)| *under_way == mark).map(|(_, given)| given)
    }

    /// Whether something of a channel waits to be confirmed.
    pub fn knows(&self, channel: &ChannelName) -> bool {
        self.given.contains_key(channel) || self.marked.as_ref().is_some_and(|(_, given)| given.contains_key(channel))
    }

    /// Whether nothing waits to be confirmed.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.marked.is_none()
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

    #[test]
    fn a_pong_confirms_what_was_given_before_its_ping_and_nothing_else() {
        let mut marks = Marks::default();
        assert_eq!(marks.begin(), None);
        marks.on_given(channel("agent:a"), 5);
        let first = marks.begin().expect("a ping");
        marks.on_given(channel("agent:a"), 9);
        assert_eq!(marks.begin(), None, "one at a time");
        assert_eq!(marks.confirmed(first + 1), None, "not a pong of ours");
        assert_eq!(marks.confirmed(first), Some(Given::from_iter([(channel("agent:a"), 5)])));
        assert_eq!(marks.confirmed(first), None, "once");
        let second = marks.begin().expect("a ping");
        assert_eq!(marks.confirmed(second), Some(Given::from_iter([(channel("agent:a"), 9)])));
        assert!(marks.is_empty());
    }

    #[test]
    fn what_was_not_asked_is_asked_again_but_for_what_is_forgotten() {
        let mut marks = Marks::default();
        marks.on_given(channel("topic:t"), 5);
        marks.on_given(channel("topic:u"), 7);
        marks.begin().expect("a ping");
        marks.on_given(channel("topic:t"), 6);
        marks.not_sent();
        marks.forget(&channel("topic:u"));
        let mark = marks.begin().expect("a ping");
        assert_eq!(marks.confirmed(mark), Some(Given::from_iter([(channel("topic:t"), 6)])));
    }
}
