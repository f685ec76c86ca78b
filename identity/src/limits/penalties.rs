//! Addresses whose logins fail must wait. Each failure makes the wait longer; counts decay with
//! time.
//!
//! A failure counts one. The count halves at a fixed interval; a success subtracts one. Above a
//! number of free failures the address waits, and each further failure doubles the wait up to a
//! bound.
//!
//! The table is bounded. At the bound **the entry with the lowest count gives way**, because it
//! would be forgotten first anyway. All counts decay at the same pace, so their order changes only
//! with failures and successes, and is kept as a sorted set.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use common::network::customer;

/// How failures are counted against an address.
#[derive(Clone, Copy, Debug)]
pub struct PenaltySettings {
    /// Failures without a wait. Default 5.
    pub free_failures: u32,
    /// The first wait. Default 1 s.
    pub first_wait: Duration,
    /// The longest wait. Default 15 min.
    pub longest_wait: Duration,
    /// The time in which the count halves. Default 10 min.
    pub half_life: Duration,
    /// Addresses in the table. Default 65,536, some 10 MB.
    pub capacity: usize,
}

impl Default for PenaltySettings {
    fn default() -> Self {
        Self {
            free_failures: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(900),
            half_life: Duration::from_secs(600),
            capacity: 65_536,
        }
    }
}

/// The bounded table of failure counts per address.
pub struct Penalties {
    settings: PenaltySettings,
    guilty: HashMap<IpAddr, Guilt>,
    order: BTreeSet<(Rank, IpAddr)>,
}

struct Guilt {
    rank: Rank,
    count: f64,
    counted_at: Duration,
    waits_until: Duration,
}

/// Orders addresses by when they will be forgotten. Grows with the count and with the time of the
/// last failure. In thousandths of a half-life.
type Rank = i64;

impl Penalties {
    /// An empty table.
    pub fn new(settings: PenaltySettings) -> Self {
        Self { settings, guilty: HashMap::new(), order: BTreeSet::new() }
    }

    /// Whether an address may try to log in.
    ///
    /// # Errors
    /// The time that the address must still wait.
    pub fn check(&self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        match self.guilty.get(&customer(address)).map(|guilt| guilt.waits_until.saturating_sub(now)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// A login from this address failed. Returns how long the address must wait now; zero: it need
    /// not.
    pub fn on_failure(&mut self, address: IpAddr, now: Duration) -> Duration {
        let key = customer(address);
        let count = self.count(key, now) + 1.0;
        let beyond = count - f64::from(self.settings.free_failures);
        let wait = if beyond <= 0.0 {
            Duration::ZERO
        } else {
            // An infinite or too large factor gives the longest wait.
            let seconds = self.settings.first_wait.as_secs_f64() * (beyond - 1.0).max(0.0).exp2();
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(self.settings.longest_wait)
        };
        self.put(key, count, now, now.saturating_add(wait));
        wait
    }

    /// A login from this address succeeded. It subtracts one failure, not all: otherwise a valid
    /// account would buy free guesses.
    pub fn on_success(&mut self, address: IpAddr, now: Duration) {
        let key = customer(address);
        let Some(guilt) = self.guilty.get(&key) else { return };
        let waits_until = guilt.waits_until;
        let count = self.count(key, now) - 1.0;
        if count < 0.5 {
            self.remove(key);
        } else {
            self.put(key, count, now, waits_until);
        }
    }

    /// Takes all failures back.
    pub fn forgive_all(&mut self) {
        self.guilty.clear();
        self.order.clear();
    }

    /// The number of addresses.
    pub fn len(&self) -> usize {
        self.guilty.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.guilty.is_empty()
    }

    fn half_life(&self) -> f64 {
        self.settings.half_life.as_secs_f64().max(0.001)
    }

    /// The present count of an address, after decay.
    fn count(&self, key: IpAddr, now: Duration) -> f64 {
        self.guilty.get(&key).map_or(0.0, |guilt| {
            let half_lives = now.saturating_sub(guilt.counted_at).as_secs_f64() / self.half_life();
            guilt.count * (-half_lives).exp2()
        })
    }

    fn put(&mut self, key: IpAddr, count: f64, now: Duration, waits_until: Duration) {
        self.remove(key);
        let half_lives = now.as_secs_f64() / self.half_life() + count.max(f64::MIN_POSITIVE).log2();
        // Saturates, as casts of floats do.
        let rank = (half_lives * 1000.0) as Rank;
        self.order.insert((rank, key));
        self.guilty.insert(key, Guilt { rank, count, counted_at: now, waits_until });
        self.forget(now);
    }

    /// Removes entries whose count is below one half, and at the bound the one with the lowest
    /// count.
    fn forget(&mut self, now: Duration) {
        while let Some((_, key)) = self.order.first().copied() {
            let has_faded = self.count(key, now) < 0.5 && self.check(key, now).is_ok();
            if !has_faded && self.guilty.len() <= self.settings.capacity.max(1) {
                return;
            }
            self.remove(key);
        }
    }

    fn remove(&mut self, key: IpAddr) {
        if let Some(guilt) = self.guilty.remove(&key) {
            self.order.remove(&(guilt.rank, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn table() -> Penalties {
        Penalties::new(PenaltySettings { capacity: 4, ..PenaltySettings::default() })
    }

    #[test]
    fn waits_double_after_the_free_failures_up_to_the_bound() {
        let mut table = table();
        for _ in 0..5 {
            assert_eq!(table.on_failure(address(1), S(0)), S(0));
            assert_eq!(table.check(address(1), S(0)), Ok(()));
        }
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
            assert_eq!(table.on_failure(address(1), S(0)), S(expected));
        }
        assert_eq!(table.check(address(1), S(100)), Err(S(800)));
        assert_eq!(table.check(address(1), S(900)), Ok(()));
        assert_eq!(table.check(address(2), S(0)), Ok(()), "others do not wait");
    }

    #[test]
    fn failures_are_forgotten_with_time() {
        let mut table = table();
        for _ in 0..8 {
            table.on_failure(address(1), S(0));
        }
        assert!(table.on_failure(address(1), S(600)).is_zero(), "8 have become 4");
        table.on_failure(address(2), S(6000));
        assert_eq!(table.len(), 1, "what has faded is taken out");
    }

    #[test]
    fn a_success_takes_one_failure_back_and_no_more() {
        let mut table = table();
        for _ in 0..6 {
            table.on_failure(address(1), S(0));
        }
        table.on_success(address(1), S(0));
        assert_eq!(table.check(address(1), S(0)), Err(S(1)), "a wait that was told is kept");
        assert_eq!(table.on_failure(address(1), S(0)), S(1), "the sixth again, not the seventh");
        table.on_failure(address(2), S(1));
        table.on_success(address(2), S(1));
        table.on_success(address(3), S(1));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_least_penalized_address_is_forgotten_first() {
        let mut table = table();
        for _ in 0..10 {
            table.on_failure(address(1), S(0));
        }
        for other in 2..1000 {
            table.on_failure(address(other), S(1));
        }
        assert_eq!(table.len(), 4);
        assert!(table.check(address(1), S(1)).is_err(), "a flood of addresses does not wash the guilty out");
    }

    #[test]
    fn networks_of_ipv6_count_as_one() {
        let mut table = table();
        for host in 0..8 {
            table.on_failure(format!("2001:db8:0:1::{host}").parse().unwrap(), S(0));
        }
        assert!(table.check("2001:db8:0:1:ffff::1".parse().unwrap(), S(0)).is_err());
        assert!(table.check("2001:db8:0:2::1".parse().unwrap(), S(0)).is_ok());
    }

    proptest! {
        #[test]
        fn the_table_stays_whole_and_bounded(steps in prop::collection::vec((0_u32..8, any::<bool>(), 0_u64..2000), 1..100)) {
            let mut table = table();
            let mut now = 0;
            for (number, fails, wait) in steps {
                now += wait;
                if fails { table.on_failure(address(number), S(now)); } else { table.on_success(address(number), S(now)); }
                prop_assert!(table.len() <= 4 && table.len() == table.order.len());
                prop_assert!(table.guilty.iter().all(|(key, guilt)| table.order.contains(&(guilt.rank, *key))));
                prop_assert!(table.guilty.values().all(|guilt| guilt.waits_until <= S(now + 900)));
            }
        }
    }
}
