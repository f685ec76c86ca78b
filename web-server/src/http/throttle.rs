//! What one address may ask for over HTTP in a second, how many sockets it may have, and what wrong credentials cost it.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use common::{
    config::Settings,
    error::{ClientError, ErrorCode},
    network::{Network, counted},
};
use identity::limits::SharedPenalties;
use transport::{Accounts, Allowance, HttpRates, RouteFamily, Tab, bearer, clock::now_ms};

use super::{ClientAddress, Refusal};

/// See the module. Shared by all threads of an edge.
pub struct Throttle {
    rates: HttpRates,
    exempt: Vec<Network>,
    sockets: Accounts<IpAddr>,
    sockets_of_address: usize,
    /// Logins that failed.
    failed_logins: SharedPenalties,
    /// Tokens that nobody signed. Apart from logins: a token cannot be guessed, and a browser that has an old one means no harm.
    forged_tokens: SharedPenalties,
    /// Operators' tokens that were wrong.
    guessed_tokens: SharedPenalties,
}

impl Throttle {
    /// The throttle of these settings.
    pub fn new(settings: &Settings) -> Self {
        let exempt = settings.limits.exempt_networks.clone();
        Self {
            rates: HttpRates::of(settings),
            failed_logins: SharedPenalties::of(&settings.limits),
            forged_tokens: SharedPenalties::of(&settings.limits),
            guessed_tokens: SharedPenalties::of(&settings.limits),
            exempt,
            sockets: Accounts::default(),
            sockets_of_address: settings.limits.max_address_connections,
        }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// `rate_limited`, with the wait.
    pub fn take(&self, family: RouteFamily, ClientAddress(address): ClientAddress) -> Result<(), Refusal> {
        Ok(self.rates.take(family, address)?)
    }

    /// A part in the sockets that an address may have; `None` where they are not counted.
    ///
    /// # Errors
    /// `too_many_connections`.
    pub fn open_socket(&self, ClientAddress(address): ClientAddress) -> Result<Option<Tab>, Refusal> {
        let Some(address) = counted(address, &self.exempt) else { return Ok(None) };
        let allowance = Allowance { connections: self.sockets_of_address, ..Allowance::UNLIMITED };
        let tab = self.sockets.open(address, allowance);
        tab.map(Some).map_err(|_| ErrorCode::TooManyConnections.into())
    }

    /// A login from this address was refused: what to answer.
    pub fn on_failed_login(&self, ClientAddress(address): ClientAddress, code: ErrorCode) -> Refusal {
        refuse(&self.failed_logins, address, code)
    }

    /// A login from this address was good.
    pub fn on_login(&self, ClientAddress(address): ClientAddress) {
        self.failed_logins.on_success(address, now());
    }

    /// Checks with `rule` whether an operator asks. What is presented may be guessed, unlike what the edge has signed: a wrong token costs its
    /// address a wait that grows. A request that shows none is refused, and has guessed at nothing.
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

    /// A token from this address was refused: what to answer.
    pub fn on_refused_token(&self, ClientAddress(address): ClientAddress, code: ErrorCode) -> Refusal {
        refuse(&self.forged_tokens, address, code)
    }
}

/// Counts what was refused against its address, and answers. Credentials are judged before: what the edge takes is signed and cannot be
/// guessed, so that who shows good ones does not wait for what others behind the same address have done. To who does not, an address
/// that waits says nothing about what was wrong.
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

/// Whether a refusal may be that of something made up. What was good once, or will be, was not.
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

/// Declares an extractor: a handler that takes it is reached at the rate of its family only.
macro_rules! paced {
    ($(#[$doc:meta])* $name:ident = $family:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub ClientAddress);

        impl FromRequest for $name {
            type Error = Refusal;
            type Future = Ready<Result<Self, Refusal>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let address = ClientAddress::of(request);
                let Some(throttle) = request.app_data::<web::Data<Throttle>>() else {
                    return ready(Err(ErrorCode::Internal.into()));
                };
                ready(throttle.take(RouteFamily::$family, address).map(|()| Self(address)))
            }
        }
    };
}

paced! {
    /// A step of a login that its address may take just now. The handler says to the [`Throttle`] how the login went.
    PacedLogin = Login
}
paced! {
    /// A request about a session that its address may make just now.
    PacedSession = Session
}
paced! {
    /// A request for statistics that its address may make just now.
    PacedOperator = Operator
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
        Throttle::new(&settings)
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
        let token = throttle.on_refused_token(STRANGER, ErrorCode::Unauthorized);
        assert_eq!(token.code(), ErrorCode::Unauthorized, "tokens are counted apart");
    }

    #[test]
    fn what_wrong_credentials_cost_is_set_by_the_operator() {
        let mut settings = Settings::for_tests();
        settings.limits.free_failures = 1;
        settings.limits.first_failure_wait = Duration::from_secs(7);
        settings.limits.longest_failure_wait = Duration::from_secs(7);
        let throttle = Throttle::new(&settings);
        let fail = || throttle.on_failed_login(STRANGER, ErrorCode::TokenMalformed);
        assert_eq!([fail().code(), fail().code()], [ErrorCode::TokenMalformed; 2]);
        let body = fail().error_response();
        assert_eq!(body.headers().get("retry-after").and_then(|wait| wait.to_str().ok()), Some("7"));
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
