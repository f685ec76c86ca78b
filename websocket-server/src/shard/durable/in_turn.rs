//! Requests about channels, which are answered in order. Pure.
//!
//! A request that waits for the store is *in progress* until it is answered. A later request of the
//! same connection about one of its channels waits until then. Requests about different channels do
//! not wait for each other.

use std::collections::VecDeque;

use foldhash::HashMap;
use store::ChannelName;

use crate::peers::ConnectionId;

/// There is no room for one more waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The turn of a request. [`InTurn::end`] gives it back when the request is answered.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    connection: ConnectionId,
    number: u64,
    channels: Vec<ChannelName>,
}

#[derive(Debug)]
struct Waiting<R> {
    request: R,
    channels: Vec<ChannelName>,
    /// In how many of its channels an earlier request is not answered.
    ahead: usize,
}

/// The requests of one connection.
#[derive(Debug)]
struct Line<R> {
    /// The numbers of the unanswered requests about each channel, the oldest first.
    channels: HashMap<ChannelName, VecDeque<u64>>,
    waiting: HashMap<u64, Waiting<R>>,
    /// The channels named by waiting requests, each as often as it is named.
    named: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct InTurn<R> {
    lines: HashMap<ConnectionId, Line<R>>,
    ready: VecDeque<(Turn, R)>,
    /// The number of the last request.
    last: u64,
}

impl<R> Default for InTurn<R> {
    fn default() -> Self {
        Self { lines: HashMap::default(), ready: VecDeque::new(), last: 0 }
    }
}

impl<R> Default for Line<R> {
    fn default() -> Self {
        Self { channels: HashMap::default(), waiting: HashMap::default(), named: 0 }
    }
}

impl<R> InTurn<R> {
    /// Adds a request about these channels. It is ready at once if no earlier one about them is in
    /// progress. The waiting requests of a connection name `most` channels together, or are one.
    ///
    /// # Errors
    /// [`Full`]: the request was not added.
    pub(super) fn push(
        &mut self,
        connection: ConnectionId,
        mut channels: Vec<ChannelName>,
        request: R,
        most: usize,
    ) -> Result<(), Full> {
        let line = self.lines.entry(connection).or_default();
        let waits = channels.iter().any(|channel| line.channels.contains_key(channel));
        if waits && !line.waiting.is_empty() && line.named + channels.len() > most {
            return Err(Full);
        }
        self.last += 1;
        let (number, mut ahead) = (self.last, 0);
        channels.retain(|channel| {
            let earlier = line.channels.entry(channel.clone()).or_default();
            let is_new = earlier.back() != Some(&number);
            if is_new {
                ahead += usize::from(!earlier.is_empty());
                earlier.push_back(number);
            }
            is_new
        });
        if ahead > 0 {
            line.named += channels.len();
            line.waiting.insert(number, Waiting { request, channels, ahead });
        } else {
            self.ready.push_back((Turn { connection, number, channels }, request));
        }
        Ok(())
    }

    /// The next request whose turn has come.
    pub(super) fn next(&mut self) -> Option<(Turn, R)> {
        self.ready.pop_front()
    }

    /// A request is answered: requests that waited only for it are ready.
    pub(super) fn end(&mut self, Turn { connection, number, channels }: Turn) {
        // The connection may have gone.
        let Some(line) = self.lines.get_mut(&connection) else { return };
        for channel in channels {
            let Some(requests) = line.channels.get_mut(&channel).filter(|requests| requests.front() == Some(&number)) else {
                continue;
            };
            requests.pop_front();
            let Some(next) = requests.front().copied() else {
                line.channels.remove(&channel);
                continue;
            };
            let is_ready = line.waiting.get_mut(&next).is_some_and(|waiting| {
                waiting.ahead -= 1;
                waiting.ahead == 0
            });
            if is_ready && let Some(Waiting { request, channels, .. }) = line.waiting.remove(&next) {
                line.named -= channels.len();
                self.ready.push_back((Turn { connection, number: next, channels }, request));
            }
        }
        if line.channels.is_empty() {
            self.lines.remove(&connection);
        }
    }

    /// The connection has gone: removes its waiting requests.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
        self.ready.retain(|(turn, _)| turn.connection != connection);
    }

    /// Connections with unanswered requests.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channels(names: &[&str]) -> Vec<ChannelName> {
        names.iter().map(|name| ChannelName::parse(&format!("topic:{name}")).expect("a channel")).collect()
    }

    fn ready<R>(line: &mut InTurn<R>) -> (Vec<Turn>, Vec<R>) {
        std::iter::from_fn(|| line.next()).unzip()
    }

    #[test]
    fn a_request_waits_for_earlier_ones_about_its_channels_and_for_no_others() {
        let (mut line, me, other) = (InTurn::default(), ConnectionId::next(), ConnectionId::next());
        for (request, names) in [("first", &["a"][..]), ("second", &["a", "b", "a"]), ("third", &["b"]), ("elsewhere", &["c"])] {
            line.push(me, channels(names), request, 8).expect("room");
        }
        line.push(other, channels(&["a"]), "other", 8).expect("room");
        let (turns, requests) = ready(&mut line);
        assert_eq!(requests, ["first", "elsewhere", "other"]);
        turns.into_iter().for_each(|turn| line.end(turn));
        for expected in ["second", "third"] {
            let (turns, requests) = ready(&mut line);
            assert_eq!(requests, [expected]);
            turns.into_iter().for_each(|turn| line.end(turn));
        }
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let (mut line, me) = (InTurn::default(), ConnectionId::next());
        line.push(me, channels(&["a"]), 0, 1).expect("it need not wait");
        line.push(me, channels(&["a"]), 1, 1).expect("room");
        assert_eq!(line.push(me, channels(&["a"]), 2, 1), Err(Full));
        line.push(me, channels(&["b"]), 3, 1).expect("it need not wait");
        let (turns, requests) = ready(&mut line);
        assert_eq!(requests, [0, 3]);
        turns.into_iter().for_each(|turn| line.end(turn));
        assert_eq!(ready(&mut line).1, [1]);
        line.push(me, channels(&["a", "b", "c"]), 4, 1).expect("one may wait, however many channels it names");
        assert_eq!(line.push(me, channels(&["c"]), 5, 1), Err(Full));
    }

    #[test]
    fn a_connection_that_is_gone_leaves_no_state() {
        let (mut line, me) = (InTurn::default(), ConnectionId::next());
        for request in 0..3 {
            line.push(me, channels(&["a"]), request, 8).expect("room");
        }
        let (turn, _) = line.next().expect("the first");
        line.forget(me);
        assert_eq!(line.len(), 0);
        line.end(turn);
        assert!(line.next().is_none());
        line.push(me, channels(&["a", "b"]), 3, 8).expect("room");
        line.forget(me);
        assert!(line.next().is_none());
    }

    proptest! {
        #[test]
        fn each_request_has_one_turn_and_those_about_a_channel_have_theirs_in_order(
            requests in prop::collection::vec(prop::collection::vec(0_u8..4, 0..4), 1..24),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 48),
        ) {
            let (mut line, me) = (InTurn::default(), ConnectionId::next());
            let mut ends = ends.into_iter();
            let (mut under_way, mut served) = (Vec::new(), Vec::new());
            let names = |of: &[u8]| channels(&of.iter().map(|at| ["a", "b", "c", "d"][usize::from(*at)]).collect::<Vec<_>>());
            let mut coming = requests.iter().enumerate();
            while served.len() < requests.len() {
                if let Some((number, of)) = coming.next() {
                    line.push(me, names(of), number, usize::MAX).expect("room");
                }
                while let Some((turn, number)) = line.next() {
                    served.push(number);
                    under_way.push((turn, number));
                }
                for (at, (_, one)) in under_way.iter().enumerate() {
                    let shares = |other: &usize| requests[*other].iter().any(|channel| requests[*one].contains(channel));
                    prop_assert!(!under_way[..at].iter().any(|(_, other)| shares(other)), "two at once about one channel");
                }
                if let Some(index) = ends.next().filter(|_| !under_way.is_empty()) {
                    let (turn, _) = under_way.swap_remove(index.index(under_way.len()));
                    line.end(turn);
                } else if let Some((turn, _)) = under_way.pop() {
                    line.end(turn);
                }
            }
            for channel in 0..4 {
                let about: Vec<_> = served.iter().filter(|number| requests[**number].contains(&channel)).collect();
                prop_assert!(about.is_sorted(), "{about:?}");
            }
            under_way.into_iter().for_each(|(turn, _)| line.end(turn));
            prop_assert!(line.next().is_none());
            prop_assert_eq!(line.len(), 0);
        }
    }
}
