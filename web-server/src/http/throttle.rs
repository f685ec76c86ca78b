//! What one address may ask for over HTTP in a second, how many sockets it may have, and what wrong credentials cost it.
//!
//! The table of buckets is bounded by how many addresses ask while a bucket fills.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    net::IpAddr,
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use common::{
    config::Settings,
    error::{ClientError, ErrorCode},
    network::{Network, customer},
    rate::{Bucket, Rate},
};
use identity::limits::SharedPenalties;
use parking_lot::Mutex;
use transport::{Accounts, Allowance, Tab, clock::now_ms};

use super::{ClientAddress, Refusal};

/// Buckets in the table at which the full ones are taken out; it doubles with what is left.
const FIRST_CLEANING: usize = 1024;

/// What is asked for, each with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// A new session.
    Registration,
    /// A step of a login.
    Login,
}

/// See the module. Shared by all threads of an edge.
pub struct Throttle {
    registrations: Rate,
    logins: Rate,
    exempt: Vec<Network>,
    buckets: Mutex<Buckets>,
    sockets: Accounts<IpAddr>,
    sockets_of_address: usize,
    /// Logins that failed.
    failed_logins: SharedPenalties,
    /// Tokens that nobody signed. Apart from logins: a token cannot be guessed, and a browser that has an old one means no harm.
    forged_tokens: SharedPenalties,
}

#[derive(Default)]
struct Buckets {
    table: HashMap<(Route, IpAddr), Bucket>,
    clean_at: usize,
}

impl Throttle {
    /// The throttle of these settings.
    pub fn new(settings: &Settings) -> Self {
        let exempt = settings.limits.exempt_networks.clone();
        Self {
            registrations: settings.rates.registrations,
            logins: settings.rates.logins,
            failed_logins: SharedPenalties::new(&exempt),
            forged_tokens: SharedPenalties::new(&exempt),
            exempt,
            buckets: Mutex::default(),
            sockets: Accounts::default(),
            sockets_of_address: settings.limits.max_address_connections,
        }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take(&self, route: Route, ClientAddress(address): ClientAddress) -> Result<(), Refusal> {
        if self.is_exempt(address) {
            return Ok(());
        }
        let rate = match route {
            Route::Registration => self.registrations,
            Route::Login => self.logins,
        };
        let taken = self.buckets.lock().take(rate, (route, customer(address)), now());
        taken.map_err(|wait| ClientError::new(ErrorCode::RateLimited).after(wait).into())
    }

    /// A part in the sockets that an address may have; `None` where they are not counted.
    ///
    /// # Errors
    /// `too_many_connections`.
    pub fn open_socket(&self, ClientAddress(address): ClientAddress) -> Result<Option<Tab>, Refusal> {
        if self.is_exempt(address) {
            return Ok(None);
        }
        let allowance = Allowance { connections: self.sockets_of_address, messages: Rate::UNLIMITED, bytes: Rate::UNLIMITED };
        let tab = self.sockets.open(customer(address), allowance);
        tab.map(Some).map_err(|_| ErrorCode::TooManyConnections.into())
    }

    /// Whether an address may try to log in.
    ///
    /// # Errors
    /// `too_many_failures`, with the wait.
    pub fn may_log_in(&self, ClientAddress(address): ClientAddress) -> Result<(), Refusal> {
        self.failed_logins.check(address, now()).map_err(too_many_failures)
    }

    /// A login from this address was refused.
    pub fn on_failed_login(&self, ClientAddress(address): ClientAddress) {
        let wait = self.failed_logins.on_failure(address, now());
        tracing::info!(%address, wait_ms = wait.as_millis(), "a login failed");
    }

    /// A login from this address was good.
    pub fn on_login(&self, ClientAddress(address): ClientAddress) {
        self.failed_logins.on_success(address, now());
    }

    /// A token that nobody signed came from this address: what to answer.
    pub fn on_forged_token(&self, ClientAddress(address): ClientAddress, code: ErrorCode) -> Refusal {
        if let Err(wait) = self.forged_tokens.check(address, now()) {
            return too_many_failures(wait);
        }
        self.forged_tokens.on_failure(address, now());
        code.into()
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(address))
    }
}

impl Buckets {
    fn take(&mut self, rate: Rate, key: (Route, IpAddr), now: Duration) -> Result<(), Duration> {
        if self.table.len() >= self.clean_at.max(FIRST_CLEANING) {
            self.table.retain(|_, bucket| !bucket.is_full(now));
            self.clean_at = self.table.len() * 2;
        }
        rate.take(self.table.entry(key).or_default(), 1, now)
    }
}

/// A step of a login that its address may take just now. A handler that takes it is reached by no others; it says to the [`Throttle`]
/// how the login went.
#[derive(Clone, Copy, Debug)]
pub struct PacedLogin(pub ClientAddress);

impl FromRequest for PacedLogin {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = ClientAddress::of(request);
        let Some(throttle) = request.app_data::<web::Data<Throttle>>() else { return ready(Err(ErrorCode::Internal.into())) };
        ready(throttle.may_log_in(address).and_then(|()| throttle.take(Route::Login, address)).map(|()| Self(address)))
    }
}

fn too_many_failures(wait: Duration) -> Refusal {
    ClientError::new(ErrorCode::TooManyFailures).after(wait).into()
}

fn now() -> Duration {
    Duration::from_millis(now_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: ClientAddress = ClientAddress(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const LOCAL: ClientAddress = ClientAddress(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn throttle() -> Throttle {
        let mut settings = Settings::for_tests();
        settings.rates.logins = Rate::new(1, 3);
        settings.limits.max_address_connections = 2;
        Throttle::new(&settings)
    }

    fn code<T>(outcome: Result<T, Refusal>) -> Option<ErrorCode> {
        outcome.err().map(|refusal| refusal.code())
    }

    #[test]
    fn each_route_has_a_rate_and_this_machine_none() {
        let throttle = throttle();
        for _ in 0..3 {
            assert_eq!(code(throttle.take(Route::Login, STRANGER)), None);
        }
        assert_eq!(code(throttle.take(Route::Login, STRANGER)), Some(ErrorCode::RateLimited));
        assert_eq!(code(throttle.take(Route::Registration, STRANGER)), None);
        assert!((0..10).all(|_| throttle.take(Route::Login, LOCAL).is_ok()));
    }

    #[test]
    fn failed_logins_make_an_address_wait() {
        let throttle = throttle();
        for _ in 0..6 {
            assert_eq!(code(throttle.may_log_in(STRANGER)), None);
            throttle.on_failed_login(STRANGER);
            throttle.on_failed_login(LOCAL);
        }
        assert_eq!(code(throttle.may_log_in(STRANGER)), Some(ErrorCode::TooManyFailures));
        assert_eq!(code(throttle.may_log_in(LOCAL)), None);
        assert_eq!(
            throttle.on_forged_token(STRANGER, ErrorCode::Unauthorized).code(),
            ErrorCode::Unauthorized,
            "tokens are counted apart"
        );
    }

    #[test]
    fn sockets_of_an_address_are_bounded() {
        let throttle = throttle();
        let sockets = [throttle.open_socket(STRANGER), throttle.open_socket(STRANGER)];
        assert!(sockets.iter().all(Result::is_ok));
        assert_eq!(code(throttle.open_socket(STRANGER)), Some(ErrorCode::TooManyConnections));
        drop(sockets);
        assert_eq!(code(throttle.open_socket(STRANGER)), None);
    }
}
