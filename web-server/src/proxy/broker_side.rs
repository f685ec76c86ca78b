//! Handles what arrives from the broker.

use std::task::{Context, Poll};

use actix::Actor;
use common::{backplane::ToEdge, close::CloseCode};
use transport::{
    CloseMode, End, FrameError, Inbound, Step,
    frame::{FrameHeader, OpCode, Origin, read_close},
};

use super::frame_runs::{FrameRuns, Verdict};

/// What a connection to the broker needs of the actor that owns it. Connections are known by their
/// numbers, because one that was given up still finishes its close.
pub trait Downstream: Actor<Context = actix::Context<Self>> + Unpin {
    /// Ready when more may be read from the broker.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<()>;

    /// Whether this is the current connection.
    fn is_current(&self, number: u64) -> bool;

    /// A whole frame for the client.
    ///
    /// # Errors
    /// The frame does not follow from the one before. The connection is given up.
    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError>;

    /// The end of one read: the frames that were taken, end to end.
    fn on_run(&mut self, run: Vec<u8>, ctx: &mut actix::Context<Self>);

    /// The broker asks the edge something.
    fn on_ask(&mut self, ask: ToEdge, ctx: &mut actix::Context<Self>);

    /// The broker closed the connection.
    fn on_broker_close(&mut self, number: u64, end: &End, ctx: &mut actix::Context<Self>);

    /// The connection is broken, or was given up.
    fn on_broker_lost(&mut self, number: u64, ctx: &mut actix::Context<Self>);

    /// The connection has ended.
    fn on_broker_end(&mut self, number: u64, end: &End, ctx: &mut actix::Context<Self>);
}

/// One connection to the broker. A client has one at a time. One that was given up only finishes
/// its close.
pub struct BrokerSide {
    /// Its number among those of this client.
    number: u64,
    frames: FrameRuns,
    closed: Option<End>,
}

impl BrokerSide {
    /// The half of a new socket whose frames may carry `max_payload` bytes.
    pub fn new(number: u64, max_payload: usize) -> Self {
        Self { number, frames: FrameRuns::new(Origin::Server, max_payload), closed: None }
    }
}

impl<A: Downstream> Inbound<A> for BrokerSide {
    fn poll_ready(&mut self, actor: &mut A, task: &mut Context<'_>) -> Poll<()> {
        actor.poll_ready(task)
    }

    fn on_bytes(&mut self, actor: &mut A, bytes: &mut [u8], ctx: &mut actix::Context<A>) -> Result<Step, FrameError> {
        let mut run = Vec::new();
        let mut asked = Vec::new();
        let is_current = actor.is_current(self.number);
        let Self { frames, closed, .. } = self;
        let outcome = frames.feed(bytes, &mut run, |header, frame| {
            match header.opcode {
                OpCode::Close => {
                    *closed = Some(End::by_peer(read_close(frame.get(header.header_len..).unwrap_or_default())?));
                    Ok(Verdict::Stop)
                }
                _ if !is_current => Ok(Verdict::Leave),
                // Binary messages are for this edge. A client is never sent one.
                OpCode::Binary if header.fin => {
                    asked.extend(ToEdge::parse(frame.get(header.header_len..).unwrap_or_default()));
                    Ok(Verdict::Leave)
                }
                _ => actor.on_frame(header, frame),
            }
        });
        actor.on_run(run, ctx);
        for ask in asked {
            actor.on_ask(ask, ctx);
        }
        match (&outcome, &self.closed) {
            (Err(fault), _) => {
                tracing::warn!(%fault, "the broker sent a bad frame");
                actor.on_broker_lost(self.number, ctx);
            }
            (Ok(()), Some(end)) => actor.on_broker_close(self.number, end, ctx),
            (Ok(()), None) => {}
        }
        outcome.map(|()| Step::Continue)
    }

    fn on_closing(&mut self, actor: &mut A, _: CloseCode, ctx: &mut actix::Context<A>) {
        // The transport has given the broker up. If the machine closed the connection, this is no
        // longer the current side.
        actor.on_broker_lost(self.number, ctx);
    }

    fn peer_close(&self) -> Option<End> {
        self.closed.clone()
    }

    fn on_end(&mut self, actor: &mut A, end: End, ctx: &mut actix::Context<A>) {
        actor.on_broker_end(self.number, &end, ctx);
    }
}

/// Answers the broker's close frame.
pub fn answer(link: &transport::Link, end: &End) {
    link.close(end.code.to_send(), "", CloseMode::Discard);
}
