//! Faults of strangers that no handler sees: counted by kind, and logged with the address, at a
//! bounded rate.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use common::{
    network::counted,
    rate::{Bucket, Rate},
};
use parking_lot::Mutex;

use super::head::HeadFault;
use crate::clock::now_ms;

/// Log lines for one address.
const OF_ADDRESS: Rate = Rate::new(1, 5);
/// Log lines for all addresses together.
const OF_ALL: Rate = Rate::new(10, 50);
/// The most addresses in the table. For further ones only the rate of all counts.
const MOST_ADDRESSES: usize = 4096;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// Not HTTP/1.
    Malformed,
    /// A head over its limit.
    HeadTooLong,
    /// A request that could be read in more than one way.
    Ambiguous,
    /// A request that was not complete in time.
    TooSlow,
    /// An answer that was not read in time.
    NotRead,
}

impl HttpFault {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Malformed, Self::HeadTooLong, Self::Ambiguous, Self::TooSlow, Self::NotRead];

    /// The name in statistics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeadTooLong => "head_too_long",
            Self::Ambiguous => "ambiguous",
            Self::TooSlow => "too_slow",
            Self::NotRead => "not_read",
        }
    }

    pub(super) const fn of(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Malformed(_) => Self::Malformed,
            HeadFault::TooLong => Self::HeadTooLong,
            HeadFault::Repeated(_) | HeadFault::BodyOfUpgrade => Self::Ambiguous,
        }
    }
}

/// See the module. One per listener, shared by its threads.
#[derive(Debug, Default)]
pub struct HttpFaults {
    counts: [AtomicU64; HttpFault::ALL.len()],
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    all: Bucket,
    addresses: HashMap<IpAddr, Bucket>,
    /// Faults without a log line since the last line.
    unsaid: u64,
}

impl HttpFaults {
    /// The name and number of each kind.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HttpFault::ALL.iter().zip(&self.counts).map(|(fault, count)| (fault.name(), count.load(Relaxed)))
    }

    /// Counts a fault of an address, and logs it if the rates allow.
    pub(crate) fn note(&self, fault: HttpFault, address: IpAddr, why: &str) {
        if let Some(count) = self.counts.get(fault as usize) {
            count.fetch_add(1, Relaxed);
        }
        let line = self.log.lock().take(address, Duration::from_millis(now_ms()));
        if let Some(unlogged) = line {
            tracing::info!(%address, fault = fault.name(), why, unlogged, "HTTP connection ended for what the client did");
        }
    }
}

impl Log {
    /// Whether the rates allow a line, and how many faults had none since the last line.
    fn take(&mut self, address: IpAddr, now: Duration) -> Option<u64> {
        self.unsaid += 1;
        // An IPv6 network counts as one address. An address that counts as nobody has only the rate
        // of all.
        let key = counted(address, &[]).unwrap_or(address);
        if self.addresses.len() >= MOST_ADDRESSES {
            self.addresses.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.addresses.len() < MOST_ADDRESSES || self.addresses.contains_key(&key) {
            OF_ADDRESS.take(self.addresses.entry(key).or_default(), 1, now).ok()?;
        }
        OF_ALL.take(&mut self.all, 1, now).ok()?;
        Some(std::mem::take(&mut self.unsaid) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn lines(log: &mut Log, addresses: impl Iterator<Item = u32>, now: Duration) -> usize {
        addresses.filter_map(|address| log.take(IpAddr::V4(address.into()), now)).count()
    }

    #[test]
    fn one_address_cannot_fill_the_log_or_hide_others() {
        let mut log = Log::default();
        assert_eq!(lines(&mut log, std::iter::repeat_n(1, 10_000), S(1)), 5);
        assert_eq!(log.take(IpAddr::from([0, 0, 0, 2]), S(1)), Some(9_995), "and what went unsaid is told");
        assert_eq!(lines(&mut log, std::iter::repeat_n(1, 10_000), S(11)), 5);
    }

    #[test]
    fn many_addresses_fill_no_log_and_no_memory() {
        let mut log = Log::default();
        assert_eq!(lines(&mut log, 0..100_000, S(1)), 50);
        assert_eq!(lines(&mut log, 100_000..200_000, S(2)), 10);
        assert!(log.addresses.len() <= MOST_ADDRESSES);
    }

    #[test]
    fn every_kind_is_counted_under_its_name() {
        let faults = HttpFaults::default();
        for fault in HttpFault::ALL {
            faults.note(fault, [192, 0, 2, 1].into(), "");
        }
        let counts: Vec<_> = faults.counts().collect();
        assert_eq!(counts.len(), 5);
        assert!(counts.iter().zip(HttpFault::ALL).all(|(count, fault)| *count == (fault.name(), 1)), "{counts:?}");
    }
}
