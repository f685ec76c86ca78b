//! What comes in from a browser.

use std::task::{Context, Poll};

use common::close::CloseCode;
use transport::{
    End, Frame, FrameError, FrameScanner, Inbound, Lane, Step,
    frame::{OpCode, Origin},
};

use super::{
    actor::ProxyActor,
    close_frame,
    machine::{Event, State},
};

/// Frames of one read on their way to the broker, end to end.
#[derive(Default)]
pub struct Batch {
    /// The frames.
    pub bytes: Vec<u8>,
    /// How many messages begin in it.
    pub messages: u64,
}

/// The browser's half of a pair.
pub struct BrowserSide {
    scanner: FrameScanner,
    closed: Option<End>,
}

impl BrowserSide {
    /// The half of a fresh socket whose frames may carry `max_payload` bytes.
    pub fn new(max_payload: usize) -> Self {
        Self { scanner: FrameScanner::new(Origin::Client, max_payload), closed: None }
    }
}

impl Inbound<ProxyActor> for BrowserSide {
    fn poll_ready(&mut self, actor: &mut ProxyActor, task: &mut Context<'_>) -> Poll<()> {
        actor.poll_uplink(task)
    }

    fn on_bytes(
        &mut self,
        actor: &mut ProxyActor,
        bytes: &mut [u8],
        ctx: &mut actix::Context<ProxyActor>,
    ) -> Result<Step, FrameError> {
        let mut batch = Batch::default();
        let size = bytes.len();
        let Self { scanner, closed } = self;
        let outcome = scanner.feed(bytes, |frame| {
            match frame.header.opcode {
                OpCode::Close => {
                    *closed = Some(close_frame::read(frame.into_payload())?);
                    return Ok(Step::Pause);
                }
                _ if actor.machine.state() == State::Closing => {}
                OpCode::Ping if !actor.machine.is_linked() => {
                    actor.browser.send(Lane::Control, Frame::pong(frame.into_payload()));
                }
                OpCode::Ping | OpCode::Pong => {
                    actor.send_up(Lane::Control, Frame::from_encoded(frame.bytes.to_vec().into()));
                }
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    if batch.bytes.is_empty() {
                        batch.bytes.reserve(size.max(frame.bytes.len()));
                    }
                    batch.messages += u64::from(frame.header.opcode != OpCode::Continuation);
                    actor.uplink.on_frame(&frame.header, frame.bytes, &mut batch.bytes)?;
                }
            }
            Ok(Step::Continue)
        });
        actor.pass_up(batch, ctx);
        match (&outcome, &self.closed) {
            (Err(fault), _) => {
                let event = Event::BrowserGone { code: fault.close_code(), reason: fault.to_string() };
                actor.apply(event, ctx);
            }
            (Ok(_), Some(end)) => {
                actor.browser.close(close_frame::answer(end.code), "", transport::CloseMode::Discard);
                actor.apply(Event::BrowserGone { code: end.code, reason: end.reason.clone() }, ctx);
            }
            (Ok(_), None) => {}
        }
        outcome
    }

    fn on_closing(&mut self, actor: &mut ProxyActor, code: CloseCode, ctx: &mut actix::Context<ProxyActor>) {
        // By now the machine knows, unless it was the transport's judgement: too slow, or silent.
        actor.apply(Event::BrowserGone { code, reason: "the client's connection was closed".to_owned() }, ctx);
    }

    fn peer_close(&self) -> Option<End> {
        self.closed.clone()
    }

    fn on_end(&mut self, actor: &mut ProxyActor, end: End, ctx: &mut actix::Context<ProxyActor>) {
        actor.on_browser_end(end, ctx);
    }
}
