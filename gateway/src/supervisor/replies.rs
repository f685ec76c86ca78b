//! The order of a connection's replies: that of its requests, though these run side by side. Pure.
//!
//! Clients do not name what a reply belongs to. They give it to the request that has waited
//! longest.

use std::collections::VecDeque;

/// The place of a request's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// See the module. Bounded.
#[derive(Debug)]
pub struct Replies {
    limit: usize,
    /// The ticket of the first place.
    first: u64,
    places: VecDeque<Option<String>>,
}

impl Replies {
    /// No requests, and at most `limit` that are not answered yet.
    pub const fn new(limit: usize) -> Self {
        Self { limit, first: 0, places: VecDeque::new() }
    }

    /// Whether no further request may be read.
    pub fn is_full(&self) -> bool {
        self.places.len() >= self.limit
    }

    /// Takes the next place.
    pub fn open(&mut self) -> Ticket {
        self.places.push_back(None);
        Ticket(self.first + self.places.len() as u64 - 1)
    }

    /// Fills a place. Only the first reply counts.
    pub fn settle(&mut self, Ticket(number): Ticket, reply: String) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.places.get_mut(at)) {
            place.get_or_insert(reply);
        }
    }

    /// The next reply that may be sent.
    pub fn next_ready(&mut self) -> Option<String> {
        let reply = self.places.front_mut()?.take()?;
        self.places.pop_front();
        self.first += 1;
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_waits_for_those_before_it() {
        let mut replies = Replies::new(2);
        let (first, second) = (replies.open(), replies.open());
        assert!(replies.is_full());
        replies.settle(second, "b".into());
        assert_eq!(replies.next_ready(), None);
        replies.settle(first, "a".into());
        replies.settle(first, "again".into());
        assert_eq!((replies.next_ready().as_deref(), replies.next_ready().as_deref()), (Some("a"), Some("b")));
        assert_eq!(replies.next_ready(), None);
        replies.settle(first, "late".into());
        assert_eq!(replies.next_ready(), None);
    }

    proptest! {
        #[test]
        fn replies_come_in_the_order_of_requests_whatever_the_order_of_answers(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut replies = Replies::new(20);
            let tickets: Vec<_> = (0..20).map(|_| replies.open()).collect();
            let mut came = Vec::new();
            for at in order {
                replies.settle(tickets[at], at.to_string());
                came.extend(std::iter::from_fn(|| replies.next_ready()));
            }
            prop_assert_eq!(came, (0..20).map(|at: usize| at.to_string()).collect::<Vec<_>>());
        }
    }
}
