//! What comes in from a browser.

use std::task::{Context, Poll};

use bytes::Bytes;
use common::close::CloseCode;
use transport::{
    CloseMode, End, Frame, FrameError, Inbound, Lane, Step,
    frame::{FrameHeader, OpCode, Origin, apply_mask},
};

use super::{
    actor::ProxyActor,
    close_frame,
    frame_runs::{FrameRuns, Verdict},
    machine::Event,
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
    frames: FrameRuns,
    closed: Option<End>,
}

impl BrowserSide {
    /// The half of a fresh socket whose frames may carry `max_payload` bytes.
    pub fn new(max_payload: usize) -> Self {
        Self { frames: FrameRuns::new(Origin::Client, max_payload), closed: None }
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
        let Self { frames, closed } = self;
        let outcome = frames.feed(bytes, &mut batch.bytes, |header, frame| {
            match header.opcode {
                OpCode::Close => {
                    *closed = Some(close_frame::read(payload(header, frame))?);
                    return Ok(Verdict::Stop);
                }
                _ if actor.machine.state().is_over() => {}
                OpCode::Ping if !actor.machine.is_linked() => {
                    actor.browser.send(Lane::Control, Frame::pong(payload(header, frame)));
                }
                OpCode::Ping | OpCode::Pong => {
                    actor.send_up(Lane::Control, Frame::from_encoded(Bytes::copy_from_slice(frame)));
                }
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    let passes = actor.uplink.on_frame(header, frame)?;
                    batch.messages += u64::from(passes && header.opcode != OpCode::Continuation);
                    return Ok(if passes { Verdict::Take } else { Verdict::Leave });
                }
            }
            Ok(Verdict::Leave)
        });
        actor.pass_up(batch, ctx);
        match (&outcome, &self.closed) {
            (Err(fault), _) => {
                let event = Event::BrowserGone { code: fault.close_code(), reason: fault.to_string() };
                actor.apply(event, ctx);
            }
            (Ok(()), Some(end)) => {
                actor.browser.close(end.code.to_send(), "", CloseMode::Discard);
                actor.apply(Event::BrowserGone { code: end.code, reason: end.reason.clone() }, ctx);
            }
            (Ok(()), None) => {}
        }
        outcome.map(|()| Step::Continue)
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

/// The payload of a frame, with its mask taken off.
fn payload<'a>(header: &FrameHeader, frame: &'a mut [u8]) -> &'a [u8] {
    let payload = frame.get_mut(header.header_len..).unwrap_or_default();
    if let Some(mask) = header.mask {
        apply_mask(payload, mask);
    }
    payload
}
