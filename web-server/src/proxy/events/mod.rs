//! The face of readers over HTTP: `GET /api/v1/channels/{channel}/events`, the messages of a topic
//! as server-sent events.
//!
//! The reader is a connection of its session at the broker, which subscribes to one topic. It does
//! not read inboxes: their messages must be acknowledged, and a stream in one direction cannot do
//! that. The face owns the long answer.

mod reader;

use std::{
    task::{Context as Task, Poll},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use common::{
    assertion::{Acks, ClientIdentity, Reading},
    close::CloseCode,
    error::{ClientError, ErrorCode},
    id::TopicName,
    message::{Speaker, Start, SystemMessage},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};
use transport::{
    AnswerWriter, End, Frame, FrameError, Lane,
    event_stream::{HEARTBEAT, read_position, write_event},
    fragments::{MessageLimits, TextAssembly},
    frame::{FrameHeader, OpCode},
    long_answer,
};

use self::reader::{Outcome, Reader};
use super::{
    actor::{Face, ProxyActor},
    environment::ProxyEnvironment,
    frame_runs::Verdict,
    routes::user_agent,
};
use crate::{
    http::{ClientAddress, Refusal, Throttle, only, require_own_origin},
    sessions::{OpenSockets, PacedSession, SessionAuthority},
};

/// How long the broker may take to accept a subscription.
const OPENING: Duration = Duration::from_secs(10);
/// A reader whose stream ends reconnects after this many milliseconds, plus a random part of as
/// many again, so that not all reconnect at once.
const COME_BACK_MS: u64 = 1000;

/// See the module.
struct EventFace {
    reader: Reader,
    /// The stream; `None` once it is closed.
    writer: Option<AnswerWriter>,
    /// Waits for the broker's answer to the subscription. Only then does the HTTP answer begin.
    opening: Option<oneshot::Sender<Result<(), ClientError>>>,
    /// What has arrived of a message from the broker.
    message: TextAssembly,
    limits: MessageLimits,
    /// Answers to the broker's pings.
    pongs: Vec<Frame>,
}

impl EventFace {
    fn write(&self, event: &str) {
        if let Some(writer) = &self.writer {
            writer.write(event.as_bytes());
        }
    }

    fn on_text(&mut self, text: &str) {
        match self.reader.on_text(text) {
            Outcome::Nothing => {}
            Outcome::Event(event) => {
                self.write(&event);
                if self.reader.is_open()
                    && let Some(opening) = self.opening.take()
                {
                    // If nobody waits any more, the client has gone.
                    let _ = opening.send(Ok(()));
                }
            }
            Outcome::Refused(error) => self.refuse(error),
        }
    }

    /// Ends the stream with an error: as the HTTP answer if that has not begun, else as the last
    /// event.
    fn refuse(&mut self, error: ClientError) {
        match self.opening.take() {
            Some(opening) => drop(opening.send(Err(error))),
            None => {
                let mut event = String::new();
                let message = SystemMessage::Error(error).encode(Speaker::Edge, None, None);
                write_event(&mut event, None, Some("system:error"), &message);
                self.write(&event);
            }
        }
        self.writer = None;
    }
}

impl Face for EventFace {
    fn start(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>) {
        let Some(writer) = &actor.face.writer else { return };
        let gone = writer.gone().into_actor(actor);
        ctx.spawn(gone.map(|(), actor, ctx| {
            let end = End { code: CloseCode::GOING_AWAY, reason: "the reader has gone, or its stream is over".to_owned() };
            actor.on_client_end(end, ctx);
        }));
        ctx.run_interval(actor.environment.ping_interval, |actor, _| {
            if actor.face.opening.is_none() {
                actor.face.write(HEARTBEAT);
            }
        });
    }

    fn on_linked(actor: &mut ProxyActor<Self>, _: &mut Context<ProxyActor<Self>>) {
        actor.face.message = TextAssembly::new(actor.face.limits);
        let subscribe = Frame::client_text(&actor.face.reader.subscribe());
        actor.send_up(Lane::Normal, subscribe);
    }

    fn on_lost(actor: &mut ProxyActor<Self>, _: &mut Context<ProxyActor<Self>>) {
        if actor.face.opening.is_some() {
            actor.face.refuse(ClientError::with_message(ErrorCode::NotReady, "the broker does not answer"));
        }
    }

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.writer.as_ref().map_or(Poll::Ready(()), |writer| writer.poll_room(task))
    }

    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError> {
        let payload = frame.get(header.header_len..).unwrap_or_default();
        match header.opcode {
            OpCode::Ping => self.pongs.push(Frame::client_pong(payload)),
            OpCode::Text | OpCode::Continuation => {
                let mut message = std::mem::replace(&mut self.message, TextAssembly::new(self.limits));
                let taken = message.take(header, payload, |text| self.on_text(text));
                self.message = message;
                taken?;
            }
            OpCode::Pong | OpCode::Binary | OpCode::Close => {}
        }
        Ok(Verdict::Leave)
    }

    fn on_run(actor: &mut ProxyActor<Self>, _: Vec<u8>, _: &mut Context<ProxyActor<Self>>) {
        for pong in std::mem::take(&mut actor.face.pongs) {
            actor.send_up(Lane::Control, pong);
        }
    }

    fn tell(&mut self, message: &SystemMessage, _: Option<&str>) {
        if self.opening.is_none() {
            self.on_text(&message.encode(Speaker::Edge, None, None));
        }
    }

    fn is_inside_message(&self) -> bool {
        // A message reaches the reader whole or not at all.
        false
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if self.opening.is_some() {
            let code = match code {
                CloseCode::CREDENTIALS_EXPIRED => ErrorCode::CredentialsExpired,
                CloseCode::SESSION_ENDED => ErrorCode::SessionEnded,
                _ => ErrorCode::NotReady,
            };
            return self.refuse(ClientError::with_message(code, reason));
        }
        let mut event = String::new();
        write_event(&mut event, None, Some("close"), &json!({"code": code.0, "reason": reason}).to_string());
        self.write(&event);
        self.writer = None;
    }
}

/// The start position in the query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    from: Option<String>,
    last: Option<u32>,
    since: Option<String>,
}

/// The start position of a request. The header of a browser that reconnects takes precedence over
/// the query, because the browser repeats the query.
fn start_of(request: &HttpRequest) -> Result<Option<Start>, Refusal> {
    let bad = |message: &str| Refusal::with_message(ErrorCode::BadRequest, message);
    let position = |text: &str| read_position(text).ok_or_else(|| bad("a position is `<epoch>:<seq>`, as in the ids of events"));
    let query = web::Query::<Query>::from_query(request.query_string())
        .map_err(|error| bad(&format!("the query cannot be read: {error}")))?
        .into_inner();
    if let Some(last) = request.headers().get("Last-Event-ID").filter(|id| !id.is_empty()) {
        return position(last.to_str().unwrap_or_default()).map(Some);
    }
    let from = query.from.as_deref().map(position).transpose()?;
    Start::one_of(from, query.last, query.since.as_deref()).map_err(bad)
}

/// The topic with this channel name.
fn topic_of(channel: &str) -> Result<TopicName, Refusal> {
    let topic = channel.strip_prefix("topic:").and_then(|name| TopicName::new(name).ok());
    topic.ok_or_else(|| {
        let error = ClientError::with_message(
            ErrorCode::InvalidTarget,
            "only topics (`topic:<name>`) are read as events; inboxes are acknowledged, and read over a WebSocket",
        );
        error.about(channel).into()
    })
}

/// Answers with the events of a topic, for as long as the reader stays.
///
/// # Errors
/// Those of [`PacedSession`]; 403 `origin_not_allowed`; 400 `bad_request` and `invalid_target`; 429
/// `too_many_connections`; 503 `at_capacity` and `not_ready`; and those of a subscription.
async fn open(
    request: HttpRequest,
    PacedSession(owned): PacedSession,
    address: ClientAddress,
    channel: web::Path<String>,
    (throttle, environment): (web::Data<Throttle>, web::Data<ProxyEnvironment>),
    (sockets, authority): (web::Data<OpenSockets>, web::Data<SessionAuthority>),
) -> Result<HttpResponse, Refusal> {
    require_own_origin(&request)?;
    let reader = Reader::new(topic_of(&channel)?, start_of(&request)?);
    let share = throttle.open_socket(address)?;
    let ticket = sockets.into_inner().admit_nameless(&owned.session)?.with(share);
    let identity = ClientIdentity {
        socket_id: Some(ticket.socket_id()),
        ip: Some(address.0.to_string()),
        user_agent: user_agent(&request),
        reading: Reading { acks: Acks::Explicit, topics_only: true, ..Reading::default() },
        ..owned.session.identity()
    };
    // The session may have been revoked between the check and the admission. Nothing else would
    // close this stream.
    authority.check(&owned.session)?;
    let mut head = HttpResponse::Ok();
    head.content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies must not buffer events that should arrive at once.
        .insert_header(("X-Accel-Buffering", "no"));
    let (writer, answer) = long_answer(head);
    let spread = getrandom::u64().unwrap_or_default() % COME_BACK_MS;
    writer.write(format!("retry: {}\n\n", COME_BACK_MS + spread).as_bytes());
    let (opening, opened) = oneshot::channel();
    // What is longer ends the connection to the broker.
    let limits = MessageLimits { max_bytes: environment.longest_from_broker, max_fragments: usize::MAX };
    let message = TextAssembly::new(limits);
    let face = EventFace { reader, writer: Some(writer), opening: Some(opening), message, limits, pongs: Vec::new() };
    ProxyActor::new(environment.into_inner(), identity, address, ticket, face).start();
    match timeout(OPENING, opened).await {
        Ok(Ok(opened)) => opened.map(|()| answer).map_err(Refusal::from),
        // No answer came, or the actor has gone.
        Ok(Err(_)) | Err(_) => Err(ClientError::with_message(ErrorCode::NotReady, "the broker does not answer").into()),
    }
}

/// The route, for the scope `/api`.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/v1/channels/{channel:.+}/events").route(web::get().to(open)).default_service(only("GET")));
}
