//! Messages and bytes: how many in all, and how many in a second.

use std::{collections::VecDeque, sync::atomic::Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::routing::RouteCounts;

/// The longest span of rates, in seconds.
const WINDOW: usize = 60;

/// Messages and bytes, in and out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages that came in.
    pub messages_in: u64,
    /// Deliveries: one for each receiver.
    pub messages_out: u64,
    /// Bytes of the messages that came in.
    pub bytes_in: u64,
    /// Bytes of the deliveries.
    pub bytes_out: u64,
}

impl Totals {
    /// Of one table of counters.
    pub fn read(counts: &RouteCounts) -> Self {
        Self {
            messages_in: counts.messages_in.load(Relaxed),
            messages_out: counts.messages_out.load(Relaxed),
            bytes_in: counts.bytes_in.load(Relaxed),
            bytes_out: counts.bytes_out.load(Relaxed),
        }
    }

    /// The sum of several.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            messages_in: sum.messages_in + one.messages_in,
            messages_out: sum.messages_out + one.messages_out,
            bytes_in: sum.bytes_in + one.bytes_in,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }

    /// As `/stats` shows it.
    pub fn to_json(self) -> Value {
        json!({
            "messages_in": self.messages_in, "messages_out": self.messages_out,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
        })
    }

    fn per_second_since(self, earlier: Self, seconds: usize) -> Value {
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds as f64;
        json!({
            "messages_in": rate(self.messages_in, earlier.messages_in),
            "messages_out": rate(self.messages_out, earlier.messages_out),
            "bytes_in": rate(self.bytes_in, earlier.bytes_in),
            "bytes_out": rate(self.bytes_out, earlier.bytes_out),
        })
    }
}

/// Totals of the last minute, one each second.
#[derive(Debug, Default)]
pub struct Rates(VecDeque<Totals>);

impl Rates {
    /// A second has passed.
    pub fn sample(&mut self, totals: Totals) {
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(totals);
    }

    /// Means per second over the last second, ten seconds and minute.
    pub fn to_json(&self) -> Value {
        json!({ "1s": self.over(1), "10s": self.over(10), "60s": self.over(60) })
    }

    fn over(&self, seconds: usize) -> Value {
        let newest = self.0.back().copied().unwrap_or_default();
        let reach = seconds.min(self.0.len().saturating_sub(1));
        let oldest = self.0.iter().rev().nth(reach).copied().unwrap_or_default();
        newest.per_second_since(oldest, reach.max(1))
    }
}

/// What was carried in all lives of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Messages and bytes.
    pub carried: Totals,
    /// Connections of agents and sessions.
    pub connections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_look_back_as_far_as_there_are_samples() {
        let mut rates = Rates::default();
        assert_eq!(rates.over(10)["messages_in"], 0.0);
        for second in 0..100_u64 {
            rates.sample(Totals { messages_in: second * 10, ..Totals::default() });
            assert!(rates.0.len() <= WINDOW + 1);
        }
        for seconds in [1, 10, 60] {
            assert_eq!(rates.over(seconds)["messages_in"], 10.0, "{seconds}");
        }
    }
}
