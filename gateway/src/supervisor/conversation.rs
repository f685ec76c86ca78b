//! The shell of one supervisor client's socket.
//!
//! ```text
//!  Stranger ── auth: right key or token, and a place ──▶ Known (has a door)
//!     │ ▲                                                   │
//!     │ └─ auth: wrong (the socket stays open)              │ the socket or the door is closed
//!     └─ too long without a key ──▶ closed ◀────────────────┘
//! ```

use std::{sync::Arc, time::Duration};

use common::{close::CloseCode, dialect::Dialect, error::ErrorCode, timestamp};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{
    answers,
    frames::{ClientFrame, Request},
    kinds::Alone,
    line::{Line, Outcome},
    program::Supervisor,
    replies::{Replies, Ticket},
};
use crate::{
    dialects::{Caller, ClientSocket, Seat},
    doors::{Door, Ending, Inbox, Incoming},
};

/// How long a client may stay without a right key. A client that is closed comes back a second
/// later for ever, so this is long.
const STRANGER_LIMIT: Duration = Duration::from_secs(600);
/// Requests of a connection whose replies are not sent yet. With more, the socket is not read.
const MOST_REPLIES: usize = 256;
/// Requests of those that the agent is asked at the same time. A further one gets an error.
const MOST_ASKED: usize = 64;

type Asked = LocalBoxFuture<'static, (Ticket, String)>;

/// One client.
pub struct Conversation {
    program: Arc<Supervisor>,
    caller: Caller,
    socket: ClientSocket,
    seat: Seat,
}

/// A client that has shown its key.
struct Known {
    line: Line,
    inbox: Inbox,
}

impl Conversation {
    /// The conversation with a client that has just connected.
    pub fn new(program: Arc<Supervisor>, caller: Caller, socket: ClientSocket, seat: Seat) -> Self {
        Self { program, caller, socket, seat }
    }

    /// Serves the client until it has gone.
    pub async fn run(mut self) {
        let Some(known) = self.identify().await else { return };
        self.serve(known).await;
    }

    fn say(&self, frame: &serde_json::Value) {
        self.socket.send(&frame.to_string());
    }

    /// Serves a stranger until it shows a right key; `None`: it has gone.
    async fn identify(&mut self) -> Option<Known> {
        let limit = Instant::now() + STRANGER_LIMIT;
        loop {
            let text = tokio::select! {
                text = self.socket.recv() => text?,
                () = sleep_until(limit) => {
                    self.socket.close(CloseCode::CREDENTIALS_EXPIRED, "no valid key within ten minutes");
                    return None;
                }
            };
            match ClientFrame::parse(&text) {
                Ok(ClientFrame::Auth { token }) => match self.enter(&token).await {
                    Ok(known) => {
                        self.say(&answers::authenticated(Ok(())));
                        return Some(known);
                    }
                    Err(code) => {
                        self.program.host().note_refusal(Dialect::Supervisor, &self.caller, code);
                        self.say(&answers::authenticated(Err(code)));
                    }
                },
                Ok(ClientFrame::Ping) => self.say(&answers::pong()),
                Ok(ClientFrame::Request(_)) => self.say(&answers::not_authenticated()),
                Err(fault) => self.say(&malformed(&fault)),
            }
        }
    }

    async fn enter(&mut self, token: &str) -> Result<Known, ErrorCode> {
        let guest = self.program.guest(&self.caller, token).await.map_err(|error| error.code)?;
        let identity =
            guest.enter(Dialect::Supervisor, &self.caller, self.socket.link(), &mut self.seat).map_err(|error| error.code)?;
        let (door, inbox) = Door::session(self.program.at_door(identity));
        Ok(Known { line: self.program.line(door), inbox })
    }

    async fn serve(&mut self, known: Known) {
        let Known { line, mut inbox } = known;
        let mut replies = Replies::new(MOST_REPLIES);
        let mut asked = FuturesUnordered::<Asked>::new();
        // What a client has asked before it left still reaches the agent.
        let mut has_left = false;
        while !has_left || !asked.is_empty() {
            tokio::select! {
                text = self.socket.recv_if(!replies.is_full()), if !has_left => match text {
                    Some(text) => asked.extend(self.on_text(&text, &line, &mut replies, asked.len()).await),
                    None => has_left = true,
                },
                Some((ticket, reply)) = asked.next() => replies.settle(ticket, reply),
                message = inbox.recv() => match message {
                    Some(message) => self.on_message(message, &line),
                    None => {
                        let (code, reason) = farewell(line.door().closed().await);
                        self.socket.close(code, reason);
                        break;
                    }
                },
            }
            while let Some(reply) = replies.next_ready() {
                self.socket.send(&reply);
            }
        }
    }

    /// Handles a frame of the client. Returns what is to be waited for.
    async fn on_text(&self, text: &str, line: &Line, replies: &mut Replies, asked: usize) -> Option<Asked> {
        let request = match ClientFrame::parse(text) {
            // It needs no turn: a client that waits for it wants to know whether it is connected.
            Ok(ClientFrame::Ping) => {
                self.say(&answers::pong());
                return None;
            }
            Ok(ClientFrame::Auth { token }) => {
                // The client stays who it is. The answer says whether the token is right.
                let ticket = replies.open();
                let outcome = self.program.guest(&self.caller, &token).await;
                replies.settle(ticket, answers::authenticated(outcome.map(drop).map_err(|error| error.code)).to_string());
                return None;
            }
            Ok(ClientFrame::Request(request)) => request,
            Err(fault) => {
                let ticket = replies.open();
                replies.settle(ticket, malformed(&fault).to_string());
                return None;
            }
        };
        let ticket = replies.open();
        if asked >= MOST_ASKED {
            let message = format!("{MOST_ASKED} requests of this connection wait for their answers: wait for some");
            replies.settle(ticket, answers::error(&message, ErrorCode::TooManyRequests.as_str()).to_string());
            return None;
        }
        let line = line.clone();
        Some(async move { (ticket, reply(&line, &request, None).await.to_string()) }.boxed_local())
    }

    fn on_message(&self, message: Incoming, line: &Line) {
        let Some(message) = line.take(message) else { return };
        let is_an_agents = message.source.as_deref().is_some_and(|source| source.starts_with("agent:"));
        let Ok(payload) = message.payload() else { return };
        if let Some(frame) = answers::push(&message.kind, &payload, &timestamp::now_string()).filter(|_| is_an_agents) {
            self.say(&frame);
        }
    }
}

/// Asks the agent and makes the reply. `keep_as` is the id under which a message is kept if no
/// agent is there.
pub async fn reply(line: &Line, request: &Request, keep_as: Option<String>) -> serde_json::Value {
    let is_to_keep = matches!(request.kind.alone, Alone::Acknowledged(_));
    let outcome = line.ask(request, is_to_keep, keep_as).await;
    let now = timestamp::now_string();
    match outcome {
        Outcome::Answered(answer) => answers::reply(request, &answer, &now),
        Outcome::Alone { .. } => answers::unanswered(request, &now),
        Outcome::Failed { message, code } => answers::error(&message, &code),
    }
}

fn malformed(fault: &impl std::fmt::Display) -> serde_json::Value {
    answers::error(&format!("Invalid message format: {fault}"), ErrorCode::InvalidEnvelope.as_str())
}

/// The close of the client's socket when its door is closed for good.
fn farewell(ending: Ending) -> (CloseCode, &'static str) {
    match ending {
        Ending::Closed { code, .. } if code.may_be_sent() => (code, "closed by the broker"),
        Ending::Refused { status: 401 | 403, .. } => (CloseCode::CREDENTIALS_EXPIRED, "the credentials were revoked"),
        _ => (CloseCode::TRY_AGAIN_LATER, "the broker ended the connection"),
    }
}
