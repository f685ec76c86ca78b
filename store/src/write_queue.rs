//! The line of writes before the disk.
//!
//! Bounded in number and bytes. At the bound a write is refused with [`StoreError::Busy`]. It does
//! not wait: otherwise the caller that is woken first would be first, and records of one channel
//! would change places. For every backend that writes with one thread, in the order of the calls.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::StoreError;

/// So few jobs are not enough for a batch, if there may be more in a moment.
const FEW: usize = 16;

/// Everything waiting, in order.
pub(crate) struct WriteQueue<J> {
    line: Mutex<Line<J>>,
    filled: Condvar,
    max_jobs: usize,
    max_bytes: usize,
    gathers: bool,
}

struct Line<J> {
    jobs: VecDeque<(J, usize)>,
    bytes: usize,
    open: bool,
}

/// What the writer does next.
pub(crate) enum Taken<J> {
    /// These.
    Jobs(Vec<J>),
    /// The time has passed and nothing came.
    Nothing,
    /// The end: nothing waits, and nothing will.
    Closed,
}

/// What happens to a write at the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtBound {
    /// It is refused.
    Refused,
    /// It is admitted: it is small, rare, and needed to recover (a reservation, a step of
    /// retention).
    Admitted,
}

impl<J> WriteQueue<J> {
    /// `gathers`: whether the writer must let writes accumulate, because no sync gives them the
    /// time.
    pub(crate) fn new(max_jobs: usize, max_bytes: usize, gathers: bool) -> Self {
        let line = Line { jobs: VecDeque::new(), bytes: 0, open: true };
        Self { line: Mutex::new(line), filled: Condvar::new(), max_jobs, max_bytes, gathers }
    }

    /// Gives a write its place in line. One write always fits an empty line.
    pub(crate) fn push(&self, job: J, bytes: usize, at_bound: AtBound) -> Result<(), StoreError> {
        let mut line = self.line.lock();
        if !line.open {
            return Err(StoreError::Closed);
        }
        let full = line.jobs.len() >= self.max_jobs || line.bytes.saturating_add(bytes) > self.max_bytes;
        if at_bound == AtBound::Refused && full && !line.jobs.is_empty() {
            return Err(StoreError::Busy);
        }
        line.bytes = line.bytes.saturating_add(bytes);
        line.jobs.push_back((job, bytes));
        let first = line.jobs.len() == 1;
        drop(line);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, at most `limit` writes and about `max_bytes`; waits for the first one.
    pub(crate) fn take(&self, limit: usize, max_bytes: usize, patience: Duration) -> Taken<J> {
        let mut line = self.line.lock();
        while line.jobs.is_empty() {
            if !line.open {
                return Taken::Closed;
            }
            if self.filled.wait_for(&mut line, patience).timed_out() && line.jobs.is_empty() {
                return if line.open { Taken::Nothing } else { Taken::Closed };
            }
        }
        // Callers that are about to write do so first: a thread that shares the writer's core has
        // more to write than the job for which it woke the writer. If the writer has a core to
        // itself, it does not wait.
        if self.gathers && line.jobs.len() < FEW {
            MutexGuard::unlocked(&mut line, std::thread::yield_now);
        }
        let mut taken = Vec::with_capacity(line.jobs.len().min(limit));
        let mut taken_bytes = 0_usize;
        while taken.len() < limit && (taken.is_empty() || taken_bytes < max_bytes) {
            let Some((job, bytes)) = line.jobs.pop_front() else { break };
            line.bytes -= bytes;
            taken_bytes = taken_bytes.saturating_add(bytes);
            taken.push(job);
        }
        Taken::Jobs(taken)
    }

    /// Writes and bytes that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let line = self.line.lock();
        (line.jobs.len(), line.bytes)
    }

    /// Accepts nothing more; what is in line is still done.
    pub(crate) fn close(&self) {
        self.line.lock().open = false;
        self.filled.notify_all();
    }

    /// Accepts nothing more, and returns what will not be done.
    pub(crate) fn abandon(&self) -> Vec<J> {
        self.close();
        let mut line = self.line.lock();
        line.bytes = 0;
        line.jobs.drain(..).map(|(job, _)| job).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn at_the_bound_writes_are_refused_and_order_is_kept() {
        let queue = WriteQueue::new(2, 100, true);
        queue.push(1, 500, AtBound::Refused).expect("one always fits");
        assert_eq!(queue.push(2, 1, AtBound::Refused), Err(StoreError::Busy));
        queue.push(3, 1, AtBound::Admitted).expect("always admitted");
        assert!(matches!(queue.take(10, 10_000, NOW), Taken::Jobs(jobs) if jobs == [1, 3]));
        assert!(matches!(queue.take(10, 10_000, NOW), Taken::Nothing));
        queue.push(4, 1, AtBound::Refused).expect("room");
        queue.close();
        assert_eq!(queue.push(5, 1, AtBound::Admitted), Err(StoreError::Closed));
        assert!(matches!(queue.take(10, 10_000, NOW), Taken::Jobs(jobs) if jobs == [4]));
        assert!(matches!(queue.take(10, 10_000, NOW), Taken::Closed));
    }
}
