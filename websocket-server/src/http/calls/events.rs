//! `GET /api/v1/channels/{channel}/events`: the messages of a topic as server-sent events, for
//! agents and operators. The edge has the same route for sessions.
//!
//! The caller subscribes without a connection: the topic knows it as a subscriber, and nobody else.

use std::{borrow::Cow, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use common::{
    close::CloseCode,
    envelope::Family,
    error::{ClientError, ErrorCode},
    id::TopicName,
    message::{KnownPosition, Start},
    timestamp,
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, interval_at, timeout};
use transport::{
    AnswerWriter, Frame,
    event_stream::{HEARTBEAT, read_position, write_event},
    long_answer,
};

use super::{
    caller::{Caller, Line},
    outcome::Told,
    who::who,
};
use crate::{
    broker::Broker,
    http::refusal::Refused,
    peers::mark_of,
    shard::{Asked, Marked, Subscription, Work},
};

/// How long a topic may take to be opened.
const OPENING: Duration = Duration::from_secs(10);
/// A reader whose stream ends reconnects after this many milliseconds.
const COME_BACK_MS: u64 = 1000;
/// The id of the subscription.
const SUBSCRIPTION: &str = "events";

/// The start position, and the agent that reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    from: Option<String>,
    last: Option<u32>,
    since: Option<String>,
    agent_id: Option<String>,
}

/// The start position of a request. The header of a reader that reconnects takes precedence over
/// the query.
fn start_of(request: &HttpRequest, query: &EventsQuery) -> Result<Option<Start>, Refused> {
    let position = |text: &str| {
        read_position(text).ok_or_else(|| Refused::bad_request("a position is `<epoch>:<seq>`, as in the ids of events"))
    };
    if let Some(last) = request.headers().get("Last-Event-ID").filter(|id| !id.is_empty()) {
        return position(last.to_str().unwrap_or_default()).map(Some);
    }
    match (&query.from, query.last, &query.since) {
        (None, None, None) => Ok(None),
        (Some(from), None, None) => position(from).map(Some),
        (None, Some(last), None) => Ok(Some(Start::Last(last))),
        (None, None, Some(since)) => match timestamp::parse_ms(since) {
            Some(since) => Ok(Some(Start::Since(since))),
            None => Err(Refused::bad_request("`since` must be an RFC 3339 time")),
        },
        _ => Err(Refused::bad_request("begin with one of `from`, `last` and `since`")),
    }
}

/// Answers with the events of a topic, for as long as the reader stays.
///
/// # Errors
/// Those of the credentials and of a subscription; `invalid_target`, `bad_request`, `not_ready`.
pub async fn open(
    request: HttpRequest,
    channel: web::Path<String>,
    query: web::Query<EventsQuery>,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Refused> {
    let broker = broker.into_inner();
    let start = start_of(&request, &query)?;
    let topic = channel.strip_prefix("topic:").and_then(|name| TopicName::new(name).ok()).ok_or_else(|| {
        let message = "only topics (`topic:<name>`) are read as events; inboxes are acknowledged, and read over a WebSocket";
        ClientError::with_message(ErrorCode::InvalidTarget, message).about(channel.as_str())
    })?;
    let caller = who(&request, &broker, query.agent_id.as_deref())?.enter(&broker)?;
    let reader = Reader { caller, topic: topic.clone() };
    let subscription = Subscription { topic, presence: false, from: start };
    let peer = Arc::clone(&reader.line().peer);
    let id = Some(SUBSCRIPTION.to_owned());
    let asked = Asked { peer, ask: Box::new(subscription), id, family: Family::Topic, bytes: 0 };
    reader.line().hand_over(Work::Ask(asked)).await;
    let opening = timeout(OPENING, reader.opened()).await;
    let first =
        opening.map_err(|_| ClientError::with_message(ErrorCode::NotReady, "the topic could not be opened in time"))??;
    let mut head = HttpResponse::Ok();
    head.content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies must not buffer events that should arrive at once.
        .insert_header(("X-Accel-Buffering", "no"));
    let (writer, answer) = long_answer(head);
    writer.write(format!("retry: {COME_BACK_MS}\n\n").as_bytes());
    actix_rt::spawn(reader.serve(first, writer));
    Ok(answer)
}

/// The head of a message of the topic, or of a notice.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    retained: bool,
}

/// The part of `topic:subscribed` that is used.
#[derive(Deserialize)]
struct Subscribed {
    epoch: String,
    seq: u64,
    #[serde(default)]
    from: Option<u64>,
}

/// One reader of a topic. Dropping it ends the subscription.
struct Reader {
    caller: Caller,
    topic: TopicName,
}

impl Reader {
    fn line(&self) -> &Rc<Line> {
        &self.caller.line
    }

    /// Waits for the answer to the subscription. Returns the frames from it on.
    async fn opened(&self) -> Result<Vec<Frame>, ClientError> {
        loop {
            let mut frames = self.line().frames().await;
            if frames.is_empty() {
                return Err(ErrorCode::NotReady.into());
            }
            // It is answered before anything that is stored in the topic is delivered.
            if let Some(at) = frames.iter().position(|frame| Told::about(frame, SUBSCRIPTION).is_some()) {
                let rest = frames.split_off(at);
                let refused = rest.first().and_then(Told::read).and_then(|told| told.error());
                return refused.map_or(Ok(rest), Err);
            }
        }
    }

    /// Writes events until the reader has gone, its credentials end, or the broker drains.
    async fn serve(self, first: Vec<Frame>, writer: AnswerWriter) {
        let (line, broker) = (Rc::clone(self.line()), Arc::clone(&self.line().broker));
        let every = broker.settings.heartbeat.interval;
        let mut heartbeat = interval_at(Instant::now() + every, every);
        let mut waiting = first;
        let gone = writer.gone();
        tokio::pin!(gone);
        let close = loop {
            for frame in std::mem::take(&mut waiting) {
                self.on_frame(&frame, &writer).await;
            }
            tokio::select! {
                () = &mut gone => return,
                () = broker.lifecycle.drains() => break (CloseCode::SERVICE_RESTART, "the server restarts".to_owned()),
                _ = heartbeat.tick() => {
                    if let Err(error) = self.caller.check_again() {
                        let code = error.code.row().close.unwrap_or(CloseCode::SESSION_ENDED);
                        break (code, error.message);
                    }
                    writer.write(HEARTBEAT.as_bytes());
                }
                frames = next_frames(&line, &writer) => {
                    if frames.is_empty() {
                        break (CloseCode::GOING_AWAY, "the stream ended".to_owned());
                    }
                    waiting = frames;
                }
            }
        };
        let mut event = String::new();
        write_event(&mut event, None, Some("close"), &json!({"code": close.0.0, "reason": close.1}).to_string());
        writer.write(event.as_bytes());
    }

    async fn on_frame(&self, frame: &Frame, writer: &AnswerWriter) {
        if let Some(mark) = mark_of(&frame.payload()) {
            // What came before it has been written.
            let peer = &self.line().peer;
            if let Some(given) = peer.on_mark(mark).filter(|given| !given.is_empty()) {
                self.line().hand_over(Work::Mark(Marked { peer: Arc::clone(peer), given })).await;
            }
            return;
        }
        let (Some(told), Ok(head)) = (Told::read(frame), serde_json::from_str::<Head<'_>>(frame.payload_text())) else { return };
        let mut event = String::new();
        if head.source.as_deref() == Some("bridge") {
            let position = told.payload::<Subscribed>().filter(|_| told.kind == "topic:subscribed");
            let position = position.map(|Subscribed { epoch, seq, from }| KnownPosition { epoch, seq: from.unwrap_or(seq) });
            if position.is_some() || told.kind == "system:lost" {
                write_event(&mut event, position.as_ref(), Some(told.kind.as_ref()), frame.payload_text());
            }
        } else if head.target.as_deref().and_then(|target| target.strip_prefix("topic:")) == Some(self.topic.as_str()) {
            let position = head.epoch.zip(head.seq).filter(|_| !head.retained);
            let position = position.map(|(epoch, seq)| KnownPosition { epoch, seq });
            write_event(&mut event, position.as_ref(), None, frame.payload_text());
        }
        writer.write(event.as_bytes());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.line().leave();
    }
}

/// The next frames, once the reader has room for them.
async fn next_frames(line: &Line, writer: &AnswerWriter) -> Vec<Frame> {
    poll_fn(|task| writer.poll_room(task)).await;
    line.frames().await
}
