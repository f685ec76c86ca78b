//! The open requests of one peer: who must answer which, and by when. Pure.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use foldhash::HashMap;
use transport::{Reservation, ShareUsed};

/// Why a request cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The limit of open requests is reached.
    TooMany,
    /// A request with this id is open.
    Duplicate,
    /// A payer of the peer has used up its share of open requests.
    ShareUsed(ShareUsed),
}

#[derive(Debug)]
struct Open {
    responder: String,
    deadline_ms: u64,
    /// How many requests wait for the responder, in all.
    awaited: Arc<AtomicUsize>,
    /// Its place among all open requests.
    _place: Option<Reservation>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.awaited.fetch_sub(1, Relaxed);
    }
}

/// The table. Bounded by the `limit` given to [`Requests::open`].
#[derive(Debug, Default)]
pub struct Requests {
    open: HashMap<String, Open>,
    /// No deadline is earlier.
    earliest_ms: u64,
}

impl Requests {
    /// Opens a request. It keeps its place among all open requests.
    ///
    /// # Errors
    /// [`OpenError`], also from `place`.
    pub fn open(
        &mut self,
        id: &str,
        responder: &str,
        deadline_ms: u64,
        awaited: &Arc<AtomicUsize>,
        limit: usize,
        place: impl FnOnce() -> Result<Option<Reservation>, ShareUsed>,
    ) -> Result<(), OpenError> {
        if self.open.contains_key(id) {
            return Err(OpenError::Duplicate);
        }
        if self.open.len() >= limit {
            return Err(OpenError::TooMany);
        }
        let place = place().map_err(OpenError::ShareUsed)?;
        self.earliest_ms = if self.open.is_empty() { deadline_ms } else { self.earliest_ms.min(deadline_ms) };
        awaited.fetch_add(1, Relaxed);
        let open = Open { responder: responder.to_owned(), deadline_ms, awaited: Arc::clone(awaited), _place: place };
        self.open.insert(id.to_owned(), open);
        Ok(())
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A message answers `id`. Closes the request if `source` is the peer that was asked.
    pub fn answer(&mut self, id: &str, source: &str) -> bool {
        let answered = self.open.get(id).is_some_and(|open| open.responder == source);
        if answered {
            self.open.remove(id);
        }
        answered
    }

    /// Removes a request that could not be sent.
    pub fn cancel(&mut self, id: &str) {
        self.open.remove(id);
    }

    /// Removes the requests past their deadline. Returns ids and responders.
    pub fn expire(&mut self, now_ms: u64) -> Vec<(String, String)> {
        if self.open.is_empty() || now_ms < self.earliest_ms {
            return Vec::new();
        }
        let expired = self.take(|open| open.deadline_ms <= now_ms);
        self.earliest_ms = self.open.values().map(|open| open.deadline_ms).min().unwrap_or(0);
        expired
    }

    /// Removes the requests to `responder`, which has gone.
    pub fn fail(&mut self, responder: &str) -> Vec<(String, String)> {
        self.take(|open| open.responder == responder)
    }

    fn take(&mut self, mut which: impl FnMut(&Open) -> bool) -> Vec<(String, String)> {
        self.open.extract_if(|_, open| which(open)).map(|(id, open)| (id, open.responder.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited() -> Arc<AtomicUsize> {
        Arc::default()
    }

    #[test]
    fn only_the_responder_answers() {
        let (mut requests, awaited) = (Requests::default(), awaited());
        assert_eq!(requests.open("1", "agent:a", 100, &awaited, 9, || Ok(None)), Ok(()));
        assert_eq!(awaited.load(Relaxed), 1);
        assert!(!requests.answer("1", "agent:b"));
        assert!(!requests.answer("2", "agent:a"));
        assert!(requests.answer("1", "agent:a"));
        assert!(!requests.answer("1", "agent:a"));
        assert_eq!(awaited.load(Relaxed), 0);
    }

    #[test]
    fn deadlines_expire_in_their_time() {
        let (mut requests, awaited) = (Requests::default(), awaited());
        for (id, deadline) in [("1", 300), ("2", 100), ("3", 200)] {
            requests.open(id, "agent:a", deadline, &awaited, 9, || Ok(None)).expect("opens");
        }
        assert!(requests.expire(99).is_empty());
        assert_eq!(requests.expire(100), [("2".to_owned(), "agent:a".to_owned())]);
        assert_eq!(requests.expire(250).len(), 1);
        assert_eq!(requests.expire(1000).len(), 1);
        assert!(requests.is_empty());
        assert_eq!(awaited.load(Relaxed), 0);
    }

    #[test]
    fn the_table_is_bounded_and_ids_are_unique() {
        let (mut requests, awaited) = (Requests::default(), awaited());
        assert_eq!(requests.open("1", "agent:a", 1, &awaited, 1, || Ok(None)), Ok(()));
        assert_eq!(requests.open("1", "agent:a", 1, &awaited, 1, || Ok(None)), Err(OpenError::Duplicate));
        assert_eq!(requests.open("2", "agent:a", 1, &awaited, 1, || Ok(None)), Err(OpenError::TooMany));
        assert_eq!(requests.fail("agent:b"), []);
        assert_eq!(requests.fail("agent:a").len(), 1);
    }
}
