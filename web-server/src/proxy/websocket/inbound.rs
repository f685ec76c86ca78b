//! Handles what arrives on a client's WebSocket.

use std::task::{Context, Poll};

use bytes::Bytes;
use common::close::CloseCode;
use transport::{
    CloseMode, End, Frame, FrameError, Lane, Link, Step,
    frame::{FrameHeader, OpCode, Origin, apply_mask, read_close},
};

use crate::proxy::{
    actor::{Face, ProxyActor},
    frame_runs::{FrameRuns, Verdict},
    uplink::Batch,
};

/// A face that owns a WebSocket.
pub trait SocketFace: Face {
    /// The link of its socket.
    fn link(&self) -> &Link;
}

type Ctx<F> = actix::Context<ProxyActor<F>>;

/// What arrives from the client.
pub struct Inbound {
    frames: FrameRuns,
    closed: Option<End>,
}

impl Inbound {
    /// The half of a new socket whose frames may carry `max_payload` bytes.
    pub fn new(max_payload: usize) -> Self {
        Self { frames: FrameRuns::new(Origin::Client, max_payload), closed: None }
    }
}

impl<F: SocketFace> transport::Inbound<ProxyActor<F>> for Inbound {
    fn poll_ready(&mut self, actor: &mut ProxyActor<F>, task: &mut Context<'_>) -> Poll<()> {
        actor.poll_uplink(task)
    }

    fn on_bytes(&mut self, actor: &mut ProxyActor<F>, bytes: &mut [u8], ctx: &mut Ctx<F>) -> Result<Step, FrameError> {
        let mut batch = Batch::default();
        let Self { frames, closed } = self;
        let outcome = frames.feed(bytes, &mut batch.bytes, |header, frame| {
            match header.opcode {
                OpCode::Close => {
                    *closed = Some(End::by_peer(read_close(payload(header, frame))?));
                    return Ok(Verdict::Stop);
                }
                _ if actor.is_over() => {}
                OpCode::Ping if !actor.is_linked() => {
                    actor.face.link().send(Lane::Control, Frame::pong(payload(header, frame)));
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
                actor.on_client_gone(fault.close_code(), fault.to_string(), ctx);
            }
            (Ok(()), Some(end)) => {
                actor.face.link().close(end.code.to_send(), "", CloseMode::Discard);
                actor.on_client_gone(end.code, end.reason.clone(), ctx);
            }
            (Ok(()), None) => {}
        }
        outcome.map(|()| Step::Continue)
    }

    fn on_closing(&mut self, actor: &mut ProxyActor<F>, code: CloseCode, ctx: &mut Ctx<F>) {
        // The actor knows already, except if the transport itself gave the client up as too slow or
        // silent.
        actor.on_client_gone(code, "the client's connection was closed".to_owned(), ctx);
    }

    fn peer_close(&self) -> Option<End> {
        self.closed.clone()
    }

    fn on_end(&mut self, actor: &mut ProxyActor<F>, end: End, ctx: &mut Ctx<F>) {
        actor.on_client_end(end, ctx);
    }
}

/// The payload of a frame, unmasked.
fn payload<'a>(header: &FrameHeader, frame: &'a mut [u8]) -> &'a [u8] {
    let payload = frame.get_mut(header.header_len..).unwrap_or_default();
    if let Some(mask) = header.mask {
        apply_mask(payload, mask);
    }
    payload
}
