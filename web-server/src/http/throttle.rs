//! The rates of one address over HTTP, the number of its sockets, and what wrong credentials cost
//! it.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use common::{
    config::Settings,
    error::{ClientError, ErrorCode},
    id::SessionId,
    network::{Network, counted},
    rate::{Rate, SharedBucket},
};
use identity::{
    limits::{GUESSABLE, SharedPenalties},
    tokens::Renewals,
};
use transport::{Accounts, Allowance, HttpRates, Payer, RouteFamily, Tab, bearer, clock::now_ms, operator::Operators};

use super::{ClientAddress, Refusal};

/// Signature checks per second for all addresses together: a third of a processor with the slowest
/// algorithms.
const ALL_CHECKS: Rate = Rate::new(5000, 5000);

/// See the module. Shared by all threads of an edge.
pub struct Throttle {
    rates: HttpRates,
    exempt: Vec<Network>,
    sockets: Accounts<IpAddr>,
    sockets_of_address: usize,
    /// Failed logins.
    failed_logins: SharedPenalties,
    /// Tokens that nobody signed. Counted apart from logins: a token cannot be guessed, and a
    /// browser with an old one means no harm.
    forged_tokens: SharedPenalties,
    /// Wrong operator tokens, and wrong keys of dialects.
    guessed_tokens: SharedPenalties,
    /// Signature checks, for all addresses.
    checks: SharedBucket,
    /// As many more, for addresses whose credentials have not failed.
    reserved_checks: SharedBucket,
    /// How often new keys of the issuers have come, and how often that was noticed.
    renewals: Vec<Renewals>,
    noticed_renewals: AtomicU64,
}

impl Throttle {
    /// The throttle of these settings. `renewals`: how often new keys of the issuers have come.
    pub fn new(settings: &Settings, renewals: Vec<Renewals>) -> Self {
        let exempt = settings.limits.exempt_networks.clone();
        Self {
            rates: HttpRates::of(settings),
            failed_logins: SharedPenalties::of(&settings.limits),
            forged_tokens: SharedPenalties::of(&settings.limits),
            guessed_tokens: SharedPenalties::of(&settings.limits),
            checks: SharedBucket::default(),
            reserved_checks: SharedBucket::default(),
            renewals,
            noticed_renewals: AtomicU64::new(0),
            exempt,
            sockets: Accounts::default(),
            sockets_of_address: settings.limits.max_address_connections,
        }
    }

    /// A token that was signed with a new key of its issuer is refused like a forged one until the
    /// issuer's keys are fetched. When new keys have come, the failures so far are taken back.
    fn take_back_failures(&self) {
        let renewals = self.renewals.iter().map(Renewals::count).sum();
        if self.noticed_renewals.swap(renewals, Relaxed) != renewals {
            self.failed_logins.forgive_all();
            self.forged_tokens.forgive_all();
        }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take(&self, family: RouteFamily, ClientAddress(address): ClientAddress) -> Result<(), Refusal> {
        Ok(self.rates.take(family, address)?)
    }

    /// Counts a request that a session's owner sent from an address. The session pays, not its
    /// neighbours.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take_of(&self, family: RouteFamily, session: SessionId, ClientAddress(address): ClientAddress) -> Result<(), Refusal> {
        Ok(self.rates.take_of(family, Payer::Session(session), address)?)
    }

    /// Counts the check of a signature that this edge has not made, for an address. Bounds the cost
    /// of checks, for one address and for all. If all addresses together ask for more, those whose
    /// credentials have not failed go first. `session`: the session that the request proves. It has
    /// some checks of its own, which forged tokens of others at its address do not use up.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn pay_for_check(&self, session: Option<SessionId>, ClientAddress(address): ClientAddress) -> Result<(), ErrorCode> {
        let take_own = |session| {
            self.rates.take_of(RouteFamily::OwnCheck, Payer::Session(session), address)?;
            self.rates.take(RouteFamily::OwnCheck, address)
        };
        if session.is_none_or(|session| take_own(session).is_err()) {
            self.rates.take(RouteFamily::Check, address).map_err(|error| error.code)?;
        }
        self.take_back_failures();
        let now = now();
        let has_failed = [&self.failed_logins, &self.forged_tokens].iter().any(|table| table.check(address, now).is_err());
        let taken = ALL_CHECKS.take_shared(&self.checks, 1, now);
        let taken = if has_failed { taken } else { taken.or_else(|_| ALL_CHECKS.take_shared(&self.reserved_checks, 1, now)) };
        taken.map_err(|_| ErrorCode::RateLimited)
    }

    /// A share of the sockets that an address may have; `None` if they are not counted.
    ///
    /// # Errors
    /// `too_many_connections`.
    pub fn open_socket(&self, ClientAddress(address): ClientAddress) -> Result<Option<Tab>, Refusal> {
        let Some(address) = counted(address, &self.exempt) else { return Ok(None) };
        let allowance = Allowance { connections: self.sockets_of_address, ..Allowance::UNLIMITED };
        let tab = self.sockets.open(address, allowance);
        tab.map(Some).map_err(|_| ErrorCode::TooManyConnections.into())
    }

    /// A login from this address was refused. Returns the answer. Failed logins of an address have
    /// a rate; successful ones are not counted here.
    pub fn on_failed_login(&self, ClientAddress(address): ClientAddress, code: ErrorCode) -> Refusal {
        if code.row().status == 401
            && let Err(error) = self.rates.take(RouteFamily::Login, address)
        {
            return error.into();
        }
        self.take_back_failures();
        refuse(&self.failed_logins, address, code)
    }

    /// A login from this address succeeded.
    pub fn on_login(&self, ClientAddress(address): ClientAddress) {
        self.failed_logins.on_success(address, now());
    }

    /// Checks with `rule` whether an operator asks. Unlike what the edge has signed, an operator
    /// token may be guessed: a wrong one costs its address a growing wait. A request without a
    /// token is refused, but is no guess.
    ///
    /// # Errors
    /// Those of the rule, `too_many_failures`.
    pub fn check_operator(
        &self,
        request: &HttpRequest,
        ClientAddress(address): ClientAddress,
        rule: impl FnOnce(&HttpRequest) -> Result<(), ErrorCode>,
    ) -> Result<(), Refusal> {
        let look = || Ok(rule(request)?);
        let checked: Result<(), ClientError> = match bearer(request.headers()) {
            Some(token) => self.guessed_tokens.weigh(Some(token), address, now(), look),
            None => look(),
        };
        Ok(checked?)
    }

    /// Checks a key that a client of a dialect has presented, by `look`. It may be guessed, as an
    /// operator token may.
    ///
    /// # Errors
    /// Those of `look`, `too_many_failures`.
    pub fn weigh_key(
        &self,
        ClientAddress(address): ClientAddress,
        presented: &str,
        look: impl FnOnce() -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        self.guessed_tokens.weigh(Some(presented), address, now(), look)
    }

    /// A token from this address was refused. Returns the answer.
    pub fn on_refused_token(&self, ClientAddress(address): ClientAddress, code: ErrorCode) -> Refusal {
        self.take_back_failures();
        refuse(&self.forged_tokens, address, code)
    }
}

/// Counts a refusal against its address, and returns the answer. Credentials are checked before:
/// what the edge accepts is signed and cannot be guessed, so a client with valid credentials does
/// not wait because of others behind the same address. While an address waits, the answer does not
/// tell what was wrong.
fn refuse(penalties: &SharedPenalties, address: IpAddr, code: ErrorCode) -> Refusal {
    if !is_forged(code) {
        return code.into();
    }
    if let Err(wait) = penalties.check(address, now()) {
        return ClientError::new(ErrorCode::TooManyFailures).after(wait).into();
    }
    let wait = penalties.on_failure(address, now());
    tracing::info!(%address, code = code.as_str(), wait_ms = wait.as_millis(), "wrong credentials");
    code.into()
}

/// Whether refused credentials may be invented. Credentials that were once valid, or will be, are
/// not.
fn is_forged(code: ErrorCode) -> bool {
    use ErrorCode::{
        CredentialsExpired, SessionEnded, SiweExpired, SiweIssuedInFuture, SiweNonceUsed, SiweNotYetValid, TokenExpired,
        TokenIssuedInFuture, TokenNotYetValid,
    };
    code.row().status == 401
        && !matches!(
            code,
            CredentialsExpired
                | SessionEnded
                | SiweExpired
                | SiweIssuedInFuture
                | SiweNonceUsed
                | SiweNotYetValid
                | TokenExpired
                | TokenIssuedInFuture
                | TokenNotYetValid
        )
}

/// A request for statistics that its address may make now. A right token that is too long to be
/// guessed is not affected by its address.
#[derive(Clone, Copy, Debug)]
pub struct PacedOperator(pub ClientAddress);

impl FromRequest for PacedOperator {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = ClientAddress::of(request);
        let Some(throttle) = request.app_data::<web::Data<Throttle>>() else {
            return ready(Err(ErrorCode::Internal.into()));
        };
        let shows_token = bearer(request.headers()).is_some_and(|token| token.len() >= GUESSABLE)
            && request.app_data::<web::Data<Operators>>().is_some_and(|operators| operators.check_observer(request).is_ok());
        let payer = if shows_token { Payer::Key("operator".into()) } else { Payer::Address(address.0) };
        let taken = throttle.rates.take_of(RouteFamily::Operator, payer, address.0);
        ready(taken.map(|()| Self(address)).map_err(Refusal::from))
    }
}

fn now() -> Duration {
    Duration::from_millis(now_ms())
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    const STRANGER: ClientAddress = ClientAddress(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const LOCAL: ClientAddress = ClientAddress(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn throttle() -> Throttle {
        let mut settings = Settings::for_tests();
        settings.limits.max_address_connections = 2;
        Throttle::new(&settings, Vec::new())
    }

    fn code<T>(outcome: Result<T, Refusal>) -> Option<ErrorCode> {
        outcome.err().map(|refusal| refusal.code())
    }

    #[test]
    fn wrong_credentials_make_an_address_wait_with_further_wrong_ones() {
        let throttle = throttle();
        let fail = |address, code| throttle.on_failed_login(address, code).code();
        for _ in 0..6 {
            assert_eq!(fail(STRANGER, ErrorCode::SiweWrongSigner), ErrorCode::SiweWrongSigner);
        }
        assert_eq!(fail(STRANGER, ErrorCode::SiweWrongSigner), ErrorCode::TooManyFailures);
        assert_eq!(fail(STRANGER, ErrorCode::TokenExpired), ErrorCode::TokenExpired, "no guess");
        assert_eq!(fail(STRANGER, ErrorCode::TokenKeysUnavailable), ErrorCode::TokenKeysUnavailable, "not the client's fault");
        assert!((0..10).all(|_| fail(LOCAL, ErrorCode::TokenMalformed) == ErrorCode::TokenMalformed));
        assert!((0..40).any(|_| fail(STRANGER, ErrorCode::TokenExpired) == ErrorCode::RateLimited), "failures have a rate");
        let token = throttle.on_refused_token(STRANGER, ErrorCode::Unauthorized);
        assert_eq!(token.code(), ErrorCode::Unauthorized, "tokens are counted apart");
    }

    #[test]
    fn a_new_key_of_an_issuer_takes_back_what_was_held_against_addresses() {
        let renewals = Renewals::default();
        let throttle = Throttle::new(&Settings::for_tests(), vec![Renewals::default(), renewals.clone()]);
        let forged = || throttle.on_refused_token(STRANGER, ErrorCode::TokenSignatureWrong).code();
        let log_in = || throttle.on_failed_login(STRANGER, ErrorCode::TokenKeyUnknown).code();
        for _ in 0..6 {
            assert_eq!((forged(), log_in()), (ErrorCode::TokenSignatureWrong, ErrorCode::TokenKeyUnknown));
        }
        assert_eq!((forged(), log_in()), (ErrorCode::TooManyFailures, ErrorCode::TooManyFailures));
        renewals.rise();
        for _ in 0..6 {
            assert_eq!(forged(), ErrorCode::TokenSignatureWrong);
        }
        assert_eq!((forged(), log_in()), (ErrorCode::TooManyFailures, ErrorCode::TokenKeyUnknown));
    }

    #[test]
    fn the_operator_sets_the_cost_of_wrong_credentials() {
        let mut settings = Settings::for_tests();
        settings.limits.free_failures = 1;
        settings.limits.first_failure_wait = Duration::from_secs(7);
        settings.limits.longest_failure_wait = Duration::from_secs(7);
        let throttle = Throttle::new(&settings, Vec::new());
        let fail = || throttle.on_failed_login(STRANGER, ErrorCode::TokenMalformed);
        assert_eq!([fail().code(), fail().code()], [ErrorCode::TokenMalformed; 2]);
        let body = fail().error_response();
        assert_eq!(body.headers().get("retry-after").and_then(|wait| wait.to_str().ok()), Some("7"));
    }

    #[test]
    fn signature_checks_are_bounded_and_addresses_that_have_not_failed_go_first() {
        let mut settings = Settings::for_tests();
        settings.rates.checks = Rate::new(1, 10);
        let throttle = Throttle::new(&settings, Vec::new());
        let address = |number: u32| ClientAddress(IpAddr::V4((0x0a00_0000 + number).into()));
        let checked = (0..100).filter(|_| throttle.pay_for_check(None, STRANGER).is_ok()).count();
        assert!((10..20).contains(&checked), "{checked}");
        for _ in 0..20 {
            throttle.on_refused_token(address(1), ErrorCode::Unauthorized);
        }
        // More than there are for those who have failed, and fewer than for all.
        let busy =
            (10..1210).flat_map(|number| [number; 5]).filter(|number| throttle.pay_for_check(None, address(*number)).is_ok());
        assert_eq!(busy.count(), 6000);
        assert_eq!(throttle.pay_for_check(None, address(1)), Err(ErrorCode::RateLimited), "who has failed waits");
        assert_eq!(throttle.pay_for_check(None, address(2)), Ok(()), "and others do not");
    }

    #[test]
    fn forged_tokens_of_an_address_do_not_use_up_the_checks_of_its_sessions() {
        let mut settings = Settings::for_tests();
        settings.rates.checks = Rate::new(1, 50);
        settings.rates.logins = Rate::new(1, 5);
        let throttle = Throttle::new(&settings, Vec::new());
        while throttle.pay_for_check(None, STRANGER).is_ok() {}
        let session = Some(SessionId::fresh());
        let own = (0..20).filter(|_| throttle.pay_for_check(session, STRANGER).is_ok()).count();
        assert!((5..10).contains(&own), "{own}");
        // However many sessions there are, their checks are bounded for the address too.
        let all = (0..200).filter(|_| throttle.pay_for_check(Some(SessionId::fresh()), STRANGER).is_ok()).count();
        assert!((40..60).contains(&all), "{all}");
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
