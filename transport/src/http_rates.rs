//! How often one peer may send HTTP requests, by family of routes.
//!
//! A request is charged to what it proves: a session, or the holder of a key. A request that proves
//! nothing is charged to its address. So a client with valid credentials does not wait because of
//! others behind the same address. The table of buckets is bounded by the number of peers that ask
//! while a bucket fills.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, time::Duration};

use common::{
    config::Settings,
    error::{ClientError, ErrorCode},
    id::SessionId,
    network::{Network, counted},
    rate::{Bucket, Rate},
};
use parking_lot::Mutex;

use crate::clock::now_ms;

/// Size of the table at which full buckets are removed. Afterwards it is twice the number of those
/// left.
const FIRST_CLEANING: usize = 1024;

/// Routes that share a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteFamily {
    /// A new session.
    Registration,
    /// A login request.
    Login,
    /// A request about a session: describe, refresh, end.
    Session,
    /// A request of an operator, or a history read of an agent.
    Operator,
    /// A message or a request to a peer that is posted over HTTP.
    Call,
    /// A check of a signature that another party made. Bounds what such checks cost.
    Check,
    /// Such a check for a session that the request proves. Counted apart, for the session and for
    /// its address, so that checks for strangers do not use it up.
    OwnCheck,
    /// A refusal because of credentials that the audit log records, so that strangers cannot fill
    /// the log.
    Refusal,
}

/// Who pays for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    /// The address of a request that proves nothing.
    Address(IpAddr),
    /// The session that the request proves.
    Session(SessionId),
    /// The holder of the request's key or token, by the key's name.
    Key(Cow<'static, str>),
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
    table: HashMap<(RouteFamily, Payer), Bucket>,
    clean_at: usize,
}

impl HttpRates {
    /// The rates of the settings.
    pub fn of(settings: &Settings) -> Self {
        let exempt = settings.limits.exempt_networks.clone();
        Self { rates: settings.rates.clone(), exempt, buckets: Mutex::default() }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take(&self, family: RouteFamily, address: IpAddr) -> Result<(), ClientError> {
        self.take_of(family, Payer::Address(address), address)
    }

    /// Counts a request from an address for `payer`. Requests of exempt addresses are not counted.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take_of(&self, family: RouteFamily, payer: Payer, address: IpAddr) -> Result<(), ClientError> {
        self.take_at(family, payer, address, Duration::from_millis(now_ms()))
    }

    fn take_at(&self, family: RouteFamily, payer: Payer, address: IpAddr, now: Duration) -> Result<(), ClientError> {
        let Some(address) = counted(address, &self.exempt) else { return Ok(()) };
        let payer = if matches!(payer, Payer::Address(_)) { Payer::Address(address) } else { payer };
        let rate = match (family, &payer) {
            (RouteFamily::Registration, _) => self.rates.registrations,
            (RouteFamily::Login | RouteFamily::Refusal, _) => self.rates.logins,
            (RouteFamily::OwnCheck, Payer::Session(_)) => self.rates.logins,
            (RouteFamily::Session, _) => self.rates.sessions,
            (RouteFamily::Operator, _) => self.rates.operators,
            (RouteFamily::Call, _) => self.rates.calls,
            (RouteFamily::Check | RouteFamily::OwnCheck, _) => self.rates.checks,
        };
        let taken = self.buckets.lock().take(rate, (family, payer), now);
        taken.map_err(|wait| ClientError::new(ErrorCode::RateLimited).after(wait))
    }
}

impl Buckets {
    fn take(&mut self, rate: Rate, key: (RouteFamily, Payer), now: Duration) -> Result<(), Duration> {
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

    fn take_at(rates: &HttpRates, family: RouteFamily, address: IpAddr, now: Duration) -> Result<(), ClientError> {
        rates.take_at(family, Payer::Address(address), address, now)
    }

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
            assert!(take_at(&rates, RouteFamily::Login, stranger, S(1)).is_ok());
        }
        let refused = take_at(&rates, RouteFamily::Login, stranger, S(1)).expect_err("too many");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(1000)));
        assert!(take_at(&rates, RouteFamily::Operator, stranger, S(1)).is_ok());
        assert!(take_at(&rates, RouteFamily::Login, stranger, S(2)).is_ok());
        assert!((0..10).all(|_| rates.take(RouteFamily::Operator, [127, 0, 0, 1].into()).is_ok()));
    }

    #[test]
    fn an_authenticated_client_is_charged_itself_and_not_its_address() {
        let rates = rates();
        let (stranger, neighbour) = (IpAddr::from([192, 0, 2, 1]), Payer::Session(SessionId::fresh()));
        while take_at(&rates, RouteFamily::Login, stranger, S(0)).is_ok() {}
        let take = |payer: &Payer| rates.take_at(RouteFamily::Login, payer.clone(), stranger, S(0));
        assert!((0..3).all(|_| take(&neighbour).is_ok()));
        assert_eq!(take(&neighbour).map_err(|error| error.code), Err(ErrorCode::RateLimited));
        assert!(take(&Payer::Key("operator".into())).is_ok());
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!((0..10).all(|_| rates.take_at(RouteFamily::Login, neighbour.clone(), local, S(0)).is_ok()), "exempt");
    }

    #[test]
    fn the_table_forgets_who_has_paused() {
        let rates = rates();
        for number in 0..10 * FIRST_CLEANING {
            let second = number as u64 / 100;
            assert!(take_at(&rates, RouteFamily::Operator, IpAddr::V4((number as u32).into()), S(second)).is_ok());
        }
        assert!(rates.buckets.lock().table.len() <= 2 * FIRST_CLEANING);
    }
}
