//! How often one address may ask for things over HTTP, by family of routes.
//!
//! The table of buckets is bounded by how many addresses ask while a bucket fills.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use common::{
    config::Settings,
    error::{ClientError, ErrorCode},
    network::{Network, counted},
    rate::{Bucket, Rate},
};
use parking_lot::Mutex;

use crate::clock::now_ms;

/// Buckets in the table at which the full ones are taken out; it doubles with what is left.
const FIRST_CLEANING: usize = 1024;

/// Routes that share a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteFamily {
    /// A new session.
    Registration,
    /// A step of a login.
    Login,
    /// What a session's owner asks about it: who it is, a later token, its end.
    Session,
    /// What operators ask, and agents about the past.
    Operator,
    /// Refusals because of who asks that the audit log notes. Whoever is refused has nothing to lose: the log is not theirs to fill.
    Refusal,
}

/// See the module. Shared by all threads of a server.
#[derive(Debug)]
pub struct HttpRates {
    rates: common::config::Rates,
    exempt: Vec<Network>,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    table: HashMap<(RouteFamily, IpAddr), Bucket>,
    clean_at: usize,
}

impl HttpRates {
    /// Those of the settings.
    pub fn of(settings: &Settings) -> Self {
        let exempt = settings.limits.exempt_networks.clone();
        Self { rates: settings.rates.clone(), exempt, buckets: Mutex::default() }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take(&self, family: RouteFamily, address: IpAddr) -> Result<(), ClientError> {
        self.take_at(family, address, Duration::from_millis(now_ms()))
    }

    fn take_at(&self, family: RouteFamily, address: IpAddr, now: Duration) -> Result<(), ClientError> {
        let Some(address) = counted(address, &self.exempt) else { return Ok(()) };
        let rate = match family {
            RouteFamily::Registration => self.rates.registrations,
            RouteFamily::Login | RouteFamily::Refusal => self.rates.logins,
            RouteFamily::Session => self.rates.sessions,
            RouteFamily::Operator => self.rates.operators,
        };
        let taken = self.buckets.lock().take(rate, (family, address), now);
        taken.map_err(|wait| ClientError::new(ErrorCode::RateLimited).after(wait))
    }
}

impl Buckets {
    fn take(&mut self, rate: Rate, key: (RouteFamily, IpAddr), now: Duration) -> Result<(), Duration> {
        if self.table.len() >= self.clean_at.max(FIRST_CLEANING) {
            self.table.retain(|_, bucket| !bucket.is_full(now));
            self.clean_at = self.table.len() * 2;
        }
        rate.take(self.table.entry(key).or_default(), 1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn rates() -> HttpRates {
        let mut settings = Settings::for_tests();
        settings.rates.logins = Rate::new(1, 3);
        settings.rates.operators = Rate::new(1, 1);
        HttpRates::of(&settings)
    }

    #[test]
    fn each_family_has_a_rate_and_this_machine_none() {
        let (rates, stranger) = (rates(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..3 {
            assert!(rates.take_at(RouteFamily::Login, stranger, S(1)).is_ok());
        }
        let refused = rates.take_at(RouteFamily::Login, stranger, S(1)).expect_err("too many");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(1000)));
        assert!(rates.take_at(RouteFamily::Operator, stranger, S(1)).is_ok());
        assert!(rates.take_at(RouteFamily::Login, stranger, S(2)).is_ok());
        assert!((0..10).all(|_| rates.take(RouteFamily::Operator, [127, 0, 0, 1].into()).is_ok()));
    }

    #[test]
    fn the_table_forgets_who_has_paused() {
        let rates = rates();
        for number in 0..10 * FIRST_CLEANING {
            let second = number as u64 / 100;
            assert!(rates.take_at(RouteFamily::Operator, IpAddr::V4((number as u32).into()), S(second)).is_ok());
        }
        assert!(rates.buckets.lock().table.len() <= 2 * FIRST_CLEANING);
    }
}
