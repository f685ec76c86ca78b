//! The answer to a write.
//!
//! Like a oneshot channel, but giving the answer and waking the caller are two steps: the writer
//! gives all answers of a batch before it wakes anybody. The caller that is woken first then also
//! finds the others' answers, which need no wake-up any more. With one step, a caller that waits
//! for many answers on the writer's own core would be switched to and back for each of them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::error::StoreError;

/// `Waiting -> Given -> Over`. The caller may leave at any time, which is `Over` as well.
enum State<T> {
    Waiting(Option<Waker>),
    Given(Result<T, StoreError>, Option<Waker>),
    Over,
}

/// The writer's side. Dropping it wakes the caller; without an answer, that is
/// [`StoreError::Closed`].
pub(super) struct Answer<T>(Arc<Mutex<State<T>>>);

/// The caller's side.
pub(super) struct Asked<T>(Arc<Mutex<State<T>>>);

/// Both sides.
pub(super) fn answer<T>() -> (Answer<T>, Asked<T>) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    (Answer(Arc::clone(&state)), Asked(state))
}

impl<T> Answer<T> {
    /// Gives the answer without waking anybody.
    pub(super) fn give(&self, answer: Result<T, StoreError>) {
        let mut state = self.0.lock();
        if let State::Waiting(waker) = &mut *state {
            *state = State::Given(answer, waker.take());
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.give(Err(StoreError::Closed));
        let waker = match &mut *self.0.lock() {
            State::Given(_, waker) => waker.take(),
            State::Waiting(_) | State::Over => None,
        };
        // Outside the lock: what is woken may be polled at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Asked<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Waiting(known) => {
                let waker = known.filter(|known| known.will_wake(cx.waker())).unwrap_or_else(|| cx.waker().clone());
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
            State::Given(answer, _) => Poll::Ready(answer),
            State::Over => Poll::Ready(Err(StoreError::Closed)),
        }
    }
}

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        *self.0.lock() = State::Over;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(asked: &mut Asked<T>, wakes: &Arc<Wakes>) -> Poll<Result<T, StoreError>> {
        Pin::new(asked).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
    }

    #[test]
    fn a_caller_that_has_its_answer_is_not_woken() {
        let wakes = Arc::new(Wakes::default());
        let (first, mut first_asked) = answer();
        let (second, mut second_asked) = answer();
        assert!(poll(&mut first_asked, &wakes).is_pending() && poll(&mut second_asked, &wakes).is_pending());
        first.give(Ok(1));
        second.give(Ok(2));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        drop(first);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut first_asked, &wakes), Poll::Ready(Ok(1)));
        assert_eq!(poll(&mut second_asked, &wakes), Poll::Ready(Ok(2)));
        drop(second);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_writer_that_is_gone_is_an_answer() {
        let wakes = Arc::new(Wakes::default());
        let (gone, mut asked) = answer::<()>();
        assert!(poll(&mut asked, &wakes).is_pending());
        drop(gone);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut asked, &wakes), Poll::Ready(Err(StoreError::Closed)));
    }

    #[test]
    fn a_caller_that_has_left_is_not_woken() {
        let wakes = Arc::new(Wakes::default());
        let (late, mut asked) = answer::<()>();
        assert!(poll(&mut asked, &wakes).is_pending());
        drop(asked);
        late.give(Ok(()));
        drop(late);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    }
}
