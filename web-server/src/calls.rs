//! `POST /api/v1/messages` and `POST /api/v1/request`: messages and requests over HTTP, for
//! sessions that hold no socket.
//!
//! The broker does the work; this edge proves who the session is, and bounds how many calls a
//! session and an address have at a time: each counts as a socket for as long as it takes.

use actix::{Actor, Context, Handler};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
    web,
};
use bytes::Bytes;
use common::{
    assertion::ClientIdentity,
    close::CloseCode,
    error::{ClientError, ErrorCode},
};
use tokio::sync::oneshot;
use transport::answer_later;

use crate::{
    http::{BrokerApi, Call, CallKind, ClientAddress, IDEMPOTENCY_KEY, Refusal, Throttle, only},
    proxy::routes::user_agent,
    sessions::{CallingSession, OpenSockets, Order, SessionAuthority, SocketTicket, sharing::Sharing},
};

/// The longest body of a call, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// What a call needs.
type Shared = (web::Data<BrokerApi>, web::Data<Sharing>, web::Data<OpenSockets>, web::Data<SessionAuthority>);

/// Hears the orders to a call: its session was ended, or the edge drains.
struct Listener {
    /// Ends the call.
    stop: Option<oneshot::Sender<ErrorCode>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Order> for Listener {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Context<Self>) {
        let code = match order {
            Order::Hush => ErrorCode::SessionEnded,
            Order::Close { code: CloseCode::SESSION_ENDED, .. } => ErrorCode::SessionEnded,
            Order::Close { code: CloseCode::CREDENTIALS_EXPIRED, .. } => ErrorCode::CredentialsExpired,
            Order::Close { .. } => ErrorCode::ServiceRestart,
            Order::AnnounceDrain { .. } | Order::AnnounceExpiry { .. } | Order::LogIn(..) => return,
        };
        if let Some(stop) = self.stop.take() {
            // A call that has ended needs no end.
            let _ = stop.send(code);
        }
    }
}

/// Makes a call at the broker, and answers as the broker does.
///
/// # Errors
/// Those of [`CallingSession`] and of the broker's route; 413 `frame_too_big`, 429
/// `too_many_connections`, 503 `at_capacity` and `not_ready`.
async fn post(
    kind: CallKind,
    request: HttpRequest,
    CallingSession(owned): CallingSession,
    address: ClientAddress,
    body: Bytes,
    throttle: web::Data<Throttle>,
    (broker, sharing, sockets, authority): Shared,
) -> Result<HttpResponse, Refusal> {
    let share = throttle.open_socket(address)?;
    let ticket = sockets.into_inner().admit_nameless(&owned.session)?.with(share);
    let identity = ClientIdentity {
        socket_id: Some(ticket.socket_id()),
        ip: Some(address.0.to_string()),
        user_agent: user_agent(&request),
        ..owned.session.identity()
    };
    // The session may have been revoked between the check and the admission.
    authority.check(&owned.session)?;
    let key = request.headers().get(IDEMPOTENCY_KEY).map(|key| key.to_str().unwrap_or_default().to_owned());
    let call = Call { kind, body, key };
    let answered = async move { answer(ticket, &broker, &sharing, identity, call).await };
    match kind {
        CallKind::Publish => answered.await,
        // The peer that is asked may take its time: the places of HTTP are for others.
        CallKind::Request => Ok(answer_later(async move { answered.await.unwrap_or_else(|refusal| refusal.error_response()) })),
    }
}

async fn answer(
    ticket: SocketTicket,
    broker: &BrokerApi,
    sharing: &Sharing,
    identity: ClientIdentity,
    call: Call,
) -> Result<HttpResponse, Refusal> {
    let (stop, stopped) = oneshot::channel();
    let listener = Listener { stop: Some(stop) }.start();
    ticket.attach(listener.recipient());
    let answer = tokio::select! {
        answer = broker.call(identity.clone(), call) => answer?,
        Ok(code) = stopped => return Err(code.into()),
    };
    if answer.status == StatusCode::UNAUTHORIZED.as_u16() {
        sharing.catch_up().await;
        sharing.check(&identity)?;
        // The broker does not accept the edge; the caller is not to blame.
        return Err(ClientError::with_message(ErrorCode::NotReady, "the broker does not know this edge").into());
    }
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY));
    response.insert_header((header::CACHE_CONTROL, "no-store")).content_type("application/json");
    if let Some(seconds) = answer.retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    Ok(response.body(answer.body))
}

/// Reads the body of a call, which may be as long as a frame.
///
/// # Errors
/// `frame_too_big`, `bad_request`.
async fn read(body: web::Payload, limit: usize) -> Result<Bytes, Refusal> {
    match body.to_bytes_limited(limit).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(Refusal::with_message(ErrorCode::BadRequest, format!("the body cannot be read: {error}"))),
        Err(_) => Err(Refusal::with_message(ErrorCode::FrameTooBig, format!("the body is longer than {limit} bytes"))),
    }
}

/// The routes, for the scope `/api`.
pub fn configure(routes: &mut web::ServiceConfig) {
    for (path, kind) in [("/v1/messages", CallKind::Publish), ("/v1/request", CallKind::Request)] {
        let call = move |request: HttpRequest,
                         session: CallingSession,
                         address: ClientAddress,
                         body: web::Payload,
                         limit: web::Data<BodyLimit>,
                         throttle: web::Data<Throttle>,
                         shared: Shared| async move {
            let body = read(body, limit.0).await?;
            post(kind, request, session, address, body, throttle, shared).await
        };
        routes.service(web::resource(path).route(web::post().to(call)).default_service(only("POST")));
    }
}
