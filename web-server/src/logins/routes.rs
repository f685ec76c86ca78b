//! `POST /auth/challenge`, `/auth/verify`, `/auth/token`, `/auth/refresh`, `/auth/logout`.

use std::{sync::Arc, time::SystemTime};

use actix_web::{HttpRequest, HttpResponse, error::JsonPayloadError, http::header, web};
use common::{
    assertion::{LoggedIn, Login, MAX_KEPT},
    close::CloseCode,
    error::{ClientError, ErrorCode},
    secret::json_fault,
    timestamp,
};
use identity::siwe::Message;
use serde::{Deserialize, Serialize};
use transport::RouteFamily;
use uuid::Uuid;

use super::{Logins, Wallets};
use crate::{
    http::{ClientAddress, Refusal, Throttle, note_session, only},
    sessions::{
        self, CookiePolicy, Credentials, LoginStep, OpenSockets, Order, OwnedSession, PacedSession, SessionAuthority,
        SessionLogin, routes::hand_out,
    },
};

/// The longest body of a request in bytes: a token has at most 16 KiB.
const LONGEST_BODY: usize = 32 * 1024;

/// The body of `/auth/challenge`.
#[derive(Deserialize)]
pub struct ChallengeAsk {
    /// The wallet's address.
    pub address: String,
    /// The chain of the wallet; Ethereum's main one if absent.
    #[serde(default = "ethereum")]
    pub chain_id: u64,
}

const fn ethereum() -> u64 {
    1
}

#[derive(Serialize)]
struct Challenge<'a> {
    message: &'a str,
    nonce: &'a str,
    expires_at: String,
}

/// The body of `/auth/verify`.
#[derive(Deserialize)]
pub struct VerifyAsk {
    /// The text of the challenge.
    pub message: String,
    /// The wallet's signature, in hexadecimal digits.
    pub signature: String,
    /// The caller's sockets, by the `socket_id` of their `connection:ack`.
    #[serde(default)]
    pub sockets: Vec<Uuid>,
}

/// The body of `/auth/token`.
#[derive(Deserialize)]
pub struct TokenAsk {
    /// An issuer's token.
    pub token: String,
    /// See [`VerifyAsk::sockets`].
    #[serde(default)]
    pub sockets: Vec<Uuid>,
}

/// What a login changes.
struct Shared {
    authority: web::Data<SessionAuthority>,
    cookies: web::Data<CookiePolicy>,
    sockets: web::Data<OpenSockets>,
    throttle: web::Data<Throttle>,
}

impl Shared {
    /// Tells the throttle the outcome of a login.
    fn judged<T>(&self, address: ClientAddress, outcome: Result<T, ErrorCode>) -> Result<T, Refusal> {
        match outcome {
            Ok(login) => {
                self.throttle.on_login(address);
                Ok(login)
            }
            Err(code) => Err(self.throttle.on_failed_login(address, code)),
        }
    }
}

/// The text that the caller's wallet must sign. Only this session can answer it, once.
///
/// # Errors
/// Those of [`LoginStep`]; `login_not_offered`, and those of
/// [`identity::siwe::Challenges::challenge`].
async fn challenge(
    LoginStep(owned): LoginStep,
    ask: web::Json<ChallengeAsk>,
    logins: web::Data<Logins>,
) -> Result<HttpResponse, Refusal> {
    let Wallets { challenges, lifetime, .. } = logins.wallets.as_ref().ok_or(ErrorCode::LoginNotOffered)?;
    let now = SystemTime::now();
    let message = challenges.lock().challenge(owned.session.id, &ask.address, ask.chain_id, now)?;
    let nonce = Message::parse(&message)?.nonce;
    let expires_at = timestamp::text(now + *lifetime);
    let challenge = Challenge { message: &message, nonce, expires_at };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(challenge))
}

/// Logs the caller's session in with its wallet's signature.
///
/// # Errors
/// Those of [`LoginStep`]; `rate_limited`, `login_not_offered`, `already_logged_in`, and every
/// `siwe_` code.
async fn verify(
    request: HttpRequest,
    LoginStep(owned): LoginStep,
    ask: web::Json<VerifyAsk>,
    logins: web::Data<Logins>,
    shared: Shared,
) -> Result<HttpResponse, Refusal> {
    let VerifyAsk { message, signature, sockets } = ask.into_inner();
    check_sockets(&sockets)?;
    let Wallets { challenges, nodes, .. } = logins.wallets.as_ref().ok_or(ErrorCode::LoginNotOffered)?;
    let address = ClientAddress::of(&request);
    shared.throttle.pay_for_check(Some(owned.session.id), address)?;
    let verdict = challenges.lock().verify(owned.session.id, &message, &signature, SystemTime::now());
    let proved = match verdict {
        Ok(verdict) => verdict.settle(nodes).await,
        Err(error) => Err(error),
    };
    let wallet = shared.judged(address, proved.map_err(ErrorCode::from))?;
    let user = wallet.user_id().ok_or(ErrorCode::Internal)?;
    let login = Login { user, wallet: Some(wallet.address.to_string()), scopes: Default::default() };
    log_in(&request, owned, SessionLogin { login, until: None }, sockets, shared).await
}

/// Logs the caller's session in with an issuer's token; a caller without a session gets one. The
/// login ends when the token would.
///
/// # Errors
/// `rate_limited`, `login_not_offered`, `already_logged_in`, and every `token_` code.
async fn exchange(
    request: HttpRequest,
    ask: web::Json<TokenAsk>,
    credentials: web::Data<Credentials>,
    shared: Shared,
) -> Result<HttpResponse, Refusal> {
    let TokenAsk { token, sockets } = ask.into_inner();
    check_sockets(&sockets)?;
    // As at the registration: expired, ended or invalid credentials do not prevent a new session.
    let owned = OwnedSession::of(&request).await.ok().filter(|owned| owned.session.source == sessions::Source::Edge);
    let address = ClientAddress::of(&request);
    let session = owned.as_ref().map(|owned| owned.session.id);
    let pay = || shared.throttle.pay_for_check(session, address);
    let login = shared.judged(address, credentials.login(&token, pay).await)?;
    match owned {
        Some(owned) => log_in(&request, owned, login, sockets, shared).await,
        None => {
            shared.throttle.take(RouteFamily::Registration, address)?;
            let (session, _) = shared.authority.register()?;
            let (session, token, written) = Arc::clone(&shared.authority).log_in(&session, login)?;
            written.await;
            Ok(hand_out(&request, **shared.cookies, None, &session, Some(token)))
        }
    }
}

async fn log_in(
    request: &HttpRequest,
    owned: OwnedSession,
    login: SessionLogin,
    keep: Vec<Uuid>,
    shared: Shared,
) -> Result<HttpResponse, Refusal> {
    let OwnedSession { session: before, proof } = owned;
    let Shared { authority, cookies, sockets, .. } = shared;
    let (session, token, written) = authority.into_inner().log_in(&before, login)?;
    if let Some(login) = session.login() {
        let logged_in = Arc::new(LoggedIn { session_id: session.id, login: login.clone(), keep });
        let reason = "the session has logged in: come back with its new credentials";
        let otherwise = Order::Close { code: CloseCode::CREDENTIALS_EXPIRED, reason };
        sockets.log_in(&session, &logged_in, &otherwise);
        tracing::info!(session = %session.id, user = %login.user, "session logged in");
        note_session(request, session.id, &format!("logged in as {}", login.user));
    }
    written.await;
    Ok(hand_out(request, **cookies, Some(proof), &session, Some(token)))
}

/// A later token of the caller's session. The session's open sockets last as long as that token.
///
/// # Errors
/// Those of [`PacedSession`]; `bad_request` for an issuer's token, which only the issuer can
/// refresh.
async fn refresh(request: HttpRequest, PacedSession(owned): PacedSession, shared: Shared) -> Result<HttpResponse, Refusal> {
    if owned.session.source == sessions::Source::Issuer {
        return Err(Refusal::with_message(ErrorCode::BadRequest, "only its issuer can refresh this token"));
    }
    let (session, token) = shared.authority.refresh(&owned.session)?;
    shared.sockets.prolong(&session);
    Ok(hand_out(&request, **shared.cookies, Some(owned.proof), &session, Some(token)))
}

/// The routes, for the scope `/auth`.
pub fn configure(routes: &mut web::ServiceConfig) {
    let json = web::JsonConfig::default().limit(LONGEST_BODY).error_handler(|error, request| {
        // A body that cannot be read counts as a failed login too.
        let throttle = request.app_data::<web::Data<Throttle>>();
        if let Some(Err(refusal)) = throttle.map(|throttle| throttle.take(RouteFamily::Login, ClientAddress::of(request))) {
            return refusal.into();
        }
        let fault = match &error {
            JsonPayloadError::Deserialize(error) => json_fault(error),
            error => error.to_string(),
        };
        Refusal::with_message(ErrorCode::BadRequest, format!("the body is not the JSON that this path needs: {fault}")).into()
    });
    routes
        .app_data(json)
        .service(web::resource("/challenge").route(web::post().to(challenge)).default_service(only("POST")))
        .service(web::resource("/verify").route(web::post().to(verify)).default_service(only("POST")))
        .service(web::resource("/token").route(web::post().to(exchange)).default_service(only("POST")))
        .service(web::resource("/refresh").route(web::post().to(refresh)).default_service(only("POST")))
        .service(web::resource("/logout").route(web::post().to(sessions::routes::end)).default_service(only("POST")));
}

fn check_sockets(sockets: &[Uuid]) -> Result<(), ClientError> {
    if sockets.len() <= MAX_KEPT {
        return Ok(());
    }
    Err(ClientError::with_message(ErrorCode::BadRequest, format!("`sockets` names more than {MAX_KEPT}")))
}

impl actix_web::FromRequest for Shared {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        fn data<T: 'static>(request: &HttpRequest) -> Result<web::Data<T>, Refusal> {
            Ok(request.app_data::<web::Data<T>>().ok_or(ErrorCode::Internal)?.clone())
        }
        let shared = || {
            let (authority, cookies) = (data(request)?, data(request)?);
            Ok(Self { authority, cookies, sockets: data(request)?, throttle: data(request)? })
        };
        std::future::ready(shared())
    }
}
