//! The answers of requests that were posted over HTTP with an idempotency key, so that a caller
//! that repeats a request gets the same answer, and the peer is not asked twice.
//!
//! Pure but for the channel on which callers wait. An entry lives for ten minutes from the request,
//! while it waits for its answer and afterwards. All entries together have a bound in bytes. At the
//! bound the oldest entry of the sender with the most bytes is forgotten, so that a flood shortens
//! the memory of its own sender only; the sessions of one address are one sender. A restart forgets
//! everything.

use std::{collections::BTreeMap, sync::Arc};

use common::error::{ClientError, ErrorCode};
use foldhash::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    hashing::hash,
    routing::{CallerAnswer, CallerOutcome},
};

/// How long an answer is kept, from its request on, in milliseconds. The longest wait for an
/// answer, too.
pub const KEPT_MS: u64 = 10 * 60 * 1000;
/// Bytes of all entries.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What an entry costs besides its answer: keys, places in tables, and the task that waits for the
/// answer.
const ENTRY_BYTES: usize = 4096;

/// Hashes of everything in a request that makes it this request. Two, so that they are as long as
/// is needed to tell requests apart; nobody outside can find two requests with equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input(u64, u64);

impl Input {
    /// Of a request with this text.
    pub fn of(text: &str) -> Self {
        Self(hash(("one", text)), hash(("two", text)))
    }
}

/// The outcome that callers wait for; `None` at first.
pub type Awaited = watch::Receiver<Option<Arc<CallerOutcome>>>;

/// The caller's address and its key.
type Name = (String, String);

#[derive(Debug)]
struct Entry {
    number: u64,
    input: Input,
    sender: u64,
    /// When it ends, in milliseconds.
    end_ms: u64,
    bytes: usize,
    awaited: Awaited,
}

/// The entries of one sender, by number: the oldest first.
#[derive(Debug, Default)]
struct Own {
    bytes: usize,
    entries: BTreeMap<u64, Name>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Name, Entry>,
    senders: HashMap<u64, Own>,
    /// All entries, by number: those that end first are first.
    order: BTreeMap<u64, Name>,
    bytes: usize,
    next: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Table>);

/// What a request with a key is.
#[derive(Debug)]
pub enum Begun {
    /// The first one with its key: its answer is told with [`Task::end`].
    First(Task, Awaited),
    /// A repetition.
    Again(Awaited),
}

/// A request whose answer is waited for. Dropping it forgets the request.
#[derive(Debug)]
pub struct Task {
    answers: Arc<Answers>,
    name: Name,
    number: u64,
    tell: watch::Sender<Option<Arc<CallerOutcome>>>,
    is_done: bool,
}

impl Answers {
    /// A request of a caller. `sender`: with whom the caller shares its part of the memory.
    ///
    /// # Errors
    /// `idempotency_key_reused`: the key came with another request.
    pub fn begin(self: &Arc<Self>, caller: &str, key: &str, input: Input, sender: u64, now_ms: u64) -> Result<Begun, ErrorCode> {
        let name = (caller.to_owned(), key.to_owned());
        let mut table = self.0.lock();
        table.expire(now_ms);
        if let Some(known) = table.entries.get(&name) {
            return if known.input == input {
                Ok(Begun::Again(known.awaited.clone()))
            } else {
                Err(ErrorCode::IdempotencyKeyReused)
            };
        }
        let (tell, awaited) = watch::channel(None);
        table.next += 1;
        let number = table.next;
        let bytes = ENTRY_BYTES;
        table.order.insert(number, name.clone());
        table.senders.entry(sender).or_default().entries.insert(number, name.clone());
        let end_ms = now_ms.saturating_add(KEPT_MS);
        table.entries.insert(name.clone(), Entry { number, input, sender, end_ms, bytes: 0, awaited: awaited.clone() });
        table.grow(&name, number, bytes);
        drop(table);
        Ok(Begun::First(Task { answers: Arc::clone(self), name, number, tell, is_done: false }, awaited))
    }

    /// How many entries there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().entries.len()
    }
}

impl Task {
    /// Resolves when the request was forgotten and nobody waits for its answer.
    pub async fn forgotten(&self) {
        self.tell.closed().await;
    }

    /// The request has ended. An answer is kept; an error is told to those who wait now, and
    /// forgotten.
    pub fn end(mut self, outcome: CallerOutcome) {
        if let Ok(CallerAnswer { text, .. }) = &outcome {
            self.is_done = true;
            self.answers.0.lock().grow(&self.name, self.number, text.len());
        }
        self.tell.send_replace(Some(Arc::new(outcome)));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.is_done {
            self.answers.0.lock().remove(&self.name, self.number);
        }
    }
}

/// Waits for an outcome.
pub async fn outcome(mut awaited: Awaited) -> CallerOutcome {
    match awaited.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => CallerOutcome::clone(outcome),
        // The request was forgotten before it was answered.
        Ok(None) | Err(_) => Err(ClientError::new(ErrorCode::ReplyTimeout)),
    }
}

impl Table {
    fn expire(&mut self, now_ms: u64) {
        while let Some((number, name)) = self.order.first_key_value().map(|(number, name)| (*number, name.clone())) {
            if self.entries.get(&name).is_some_and(|entry| entry.end_ms > now_ms) {
                break;
            }
            self.remove(&name, number);
        }
    }

    /// An entry takes more bytes. The entries that take too many together are forgotten.
    fn grow(&mut self, name: &Name, number: u64, bytes: usize) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.number == number) else { return };
        entry.bytes += bytes;
        self.bytes += bytes;
        if let Some(own) = self.senders.get_mut(&entry.sender) {
            own.bytes += bytes;
        }
        while self.bytes > MOST_BYTES
            && let Some(own) = self.senders.values().max_by_key(|own| own.bytes)
            && let Some((number, name)) = own.entries.first_key_value().map(|(number, name)| (*number, name.clone()))
        {
            self.remove(&name, number);
        }
    }

    fn remove(&mut self, name: &Name, number: u64) {
        if self.entries.get(name).is_none_or(|entry| entry.number != number) {
            return;
        }
        let Some(Entry { sender, bytes, .. }) = self.entries.remove(name) else { return };
        self.order.remove(&number);
        self.bytes -= bytes;
        let Some(own) = self.senders.get_mut(&sender) else { return };
        own.bytes -= bytes;
        own.entries.remove(&number);
        if own.entries.is_empty() {
            self.senders.remove(&sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Arc<Answers> {
        Arc::default()
    }

    fn begin(answers: &Arc<Answers>, key: &str, sender: u64, now_ms: u64) -> Begun {
        answers.begin("session:s", key, Input::of("input"), sender, now_ms).expect("begun")
    }

    fn first(begun: Begun) -> (Task, Awaited) {
        match begun {
            Begun::First(task, awaited) => (task, awaited),
            Begun::Again(_) => panic!("it came before"),
        }
    }

    fn answer(bytes: usize) -> CallerOutcome {
        Ok(CallerAnswer { text: "x".repeat(bytes), stored: None })
    }

    #[tokio::test]
    async fn a_repetition_gets_the_answer_of_the_first_and_another_request_is_refused() {
        let answers = answers();
        let (task, awaited) = first(begin(&answers, "k", 1, 0));
        let Begun::Again(again) = begin(&answers, "k", 1, 0) else { panic!("it came before") };
        let other = answers.begin("session:s", "k", Input::of("other"), 1, 0);
        assert_eq!(other.err(), Some(ErrorCode::IdempotencyKeyReused));
        assert!(matches!(answers.begin("session:t", "k", Input::of("other"), 1, 0), Ok(Begun::First(..))), "another caller's");
        task.end(answer(3));
        for awaited in [awaited, again] {
            assert_eq!(outcome(awaited).await.expect("an answer").text, "xxx");
        }
        let Begun::Again(late) = begin(&answers, "k", 1, KEPT_MS - 1) else { panic!("it is kept") };
        assert_eq!(outcome(late).await.expect("an answer").text, "xxx");
        first(begin(&answers, "k", 1, KEPT_MS));
        assert_eq!(answers.len(), 0, "what is not answered is forgotten with its task");
    }

    #[tokio::test]
    async fn errors_are_told_and_forgotten() {
        let answers = answers();
        let (task, awaited) = first(begin(&answers, "k", 1, 0));
        task.end(Err(ErrorCode::AgentNotFound.into()));
        assert_eq!(outcome(awaited).await.expect_err("an error").code, ErrorCode::AgentNotFound);
        let (task, awaited) = first(begin(&answers, "k", 1, 0));
        drop(task);
        assert_eq!(outcome(awaited).await.expect_err("nobody answers").code, ErrorCode::ReplyTimeout);
    }

    #[test]
    fn a_flood_forgets_its_own_answers_and_nobody_elses() {
        let answers = answers();
        let (task, _) = first(begin(&answers, "mine", 1, 0));
        task.end(answer(1000));
        for number in 0..200 {
            let (task, _) = first(begin(&answers, &number.to_string(), 2, 0));
            task.end(answer(1024 * 1024));
        }
        assert!(matches!(begin(&answers, "mine", 1, 1), Begun::Again(_)));
        assert!(matches!(begin(&answers, "199", 2, 1), Begun::Again(_)));
        first(begin(&answers, "0", 2, 1));
        let table = answers.0.lock();
        assert!(table.bytes <= MOST_BYTES && table.entries.len() < 70, "{} bytes", table.bytes);
        assert_eq!(table.bytes, table.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(table.bytes, table.senders.values().map(|own| own.bytes).sum::<usize>());
    }

    #[test]
    fn entries_that_are_over_leave_nothing() {
        let answers = answers();
        for number in 0..1000_u64 {
            let (task, _) = first(begin(&answers, &number.to_string(), number % 7, number));
            if number % 3 > 0 {
                task.end(answer(10));
            }
        }
        answers.0.lock().expire(KEPT_MS + 1000);
        let table = answers.0.lock();
        assert_eq!((table.entries.len(), table.senders.len(), table.order.len(), table.bytes), (0, 0, 0, 0));
    }
}
