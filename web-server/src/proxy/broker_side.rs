//! Handles what arrives from the broker.

use std::task::{Context, Poll};

use common::{backplane::ToEdge, close::CloseCode};
use transport::{
    CloseMode, End, FrameError, Inbound, Step,
    frame::{OpCode, Origin},
};

use super::{
    actor::ProxyActor,
    close_frame,
    face::Face,
    frame_runs::{FrameRuns, Verdict},
};

/// The broker's half of a pair. A pair has one at a time. One that was given up only finishes its
/// close.
pub struct BrokerSide {
    /// The number of this connection to the broker within the pair.
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

impl<F: Face> Inbound<ProxyActor<F>> for BrokerSide {
    fn poll_ready(&mut self, actor: &mut ProxyActor<F>, task: &mut Context<'_>) -> Poll<()> {
        actor.face.poll_ready(task)
    }

    fn on_bytes(
        &mut self,
        actor: &mut ProxyActor<F>,
        bytes: &mut [u8],
        ctx: &mut actix::Context<ProxyActor<F>>,
    ) -> Result<Step, FrameError> {
        let mut run = Vec::new();
        let mut asked = Vec::new();
        let is_current = actor.is_current(self.number);
        let Self { frames, closed, .. } = self;
        let outcome = frames.feed(bytes, &mut run, |header, frame| {
            match header.opcode {
                OpCode::Close => {
                    *closed = Some(close_frame::read(frame.get(header.header_len..).unwrap_or_default())?);
                    Ok(Verdict::Stop)
                }
                _ if !is_current => Ok(Verdict::Leave),
                // Binary messages are for this edge. A client is never sent one.
                OpCode::Binary if header.fin => {
                    asked.extend(ToEdge::parse(frame.get(header.header_len..).unwrap_or_default()));
                    Ok(Verdict::Leave)
                }
                _ => actor.face.on_frame(header, frame),
            }
        });
        F::on_run(actor, run, ctx);
        for ask in asked {
            actor.on_broker_ask(ask, ctx);
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

    fn on_closing(&mut self, actor: &mut ProxyActor<F>, _: CloseCode, ctx: &mut actix::Context<ProxyActor<F>>) {
        // The transport has given the broker up. If the machine closed the connection, this is no
        // longer the current side.
        actor.on_broker_lost(self.number, ctx);
    }

    fn peer_close(&self) -> Option<End> {
        self.closed.clone()
    }

    fn on_end(&mut self, actor: &mut ProxyActor<F>, end: End, ctx: &mut actix::Context<ProxyActor<F>>) {
        actor.on_broker_end(self.number, &end, ctx);
    }
}

/// Answers the broker's close frame.
pub fn answer(link: &transport::Link, end: &End) {
    link.close(end.code.to_send(), "", CloseMode::Discard);
}
