//! The face of browsers and client programs: a WebSocket that passes frames unchanged.
//!
//! Owns the client's socket. It reads only the headers of frames; payloads are never unmasked.

mod downlink;
mod inbound;

use std::{
    sync::Arc,
    task::{Context as Task, Poll},
};

use actix::{AsyncContext, Context, SpawnHandle};
use bytes::Bytes;
use common::{
    close::CloseCode,
    message::{Speaker, SystemMessage},
};
use transport::{
    CloseMode, Frame, FrameError, Lane, Link, Pump, Sent, Upgraded,
    frame::{FrameHeader, OpCode},
    sweeper,
};

use self::{
    downlink::Downlink,
    inbound::{Inbound, SocketFace},
};
use super::{
    actor::{Face, ProxyActor},
    environment::ProxyEnvironment,
    frame_runs::Verdict,
};

/// See the module.
pub struct WebSocketFace {
    link: Arc<Link>,
    /// The socket, until it is given to its pump.
    upgraded: Option<Upgraded>,
    downlink: Downlink,
    /// Pings the client while the broker, which pings it otherwise, is away.
    keep_alive: Option<SpawnHandle>,
}

impl WebSocketFace {
    /// The face of a socket that has just been upgraded.
    pub fn new(environment: &ProxyEnvironment, upgraded: Upgraded) -> Self {
        let link = Link::new(Arc::clone(&environment.client_policy));
        Self { link, upgraded: Some(upgraded), downlink: Downlink::default(), keep_alive: None }
    }
}

impl SocketFace for WebSocketFace {
    fn link(&self) -> &Link {
        &self.link
    }
}

impl Face for WebSocketFace {
    fn start(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>) {
        sweeper::watch(Arc::clone(&actor.face.link));
        if let Some(Upgraded { socket, leftover }) = actor.face.upgraded.take() {
            let inbound = Inbound::new(actor.environment.uplink.message.max_bytes);
            ctx.spawn(Pump::new(socket, leftover, Arc::clone(&actor.face.link), inbound));
        }
    }

    fn on_linked(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>) {
        if let Some(handle) = actor.face.keep_alive.take() {
            ctx.cancel_future(handle);
        }
    }

    fn on_lost(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>) {
        let every = actor.environment.ping_interval;
        let ping = |actor: &mut ProxyActor<Self>, _: &mut _| {
            actor.face.link.send(Lane::Control, Frame::ping());
        };
        if let Some(before) = actor.face.keep_alive.replace(ctx.run_interval(every, ping)) {
            ctx.cancel_future(before);
        }
    }

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.link.poll_open(task)
    }

    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError> {
        match header.opcode {
            // A ping with a payload asks what has reached the client, so it keeps its place among
            // the messages.
            OpCode::Ping if header.payload_len > 0 => return Ok(Verdict::Take),
            OpCode::Ping | OpCode::Pong => {
                self.link.send(Lane::Control, Frame::from_encoded(Bytes::copy_from_slice(frame)));
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                self.downlink.on_frame(header)?;
                return Ok(Verdict::Take);
            }
            OpCode::Close => {}
        }
        Ok(Verdict::Leave)
    }

    fn on_run(actor: &mut ProxyActor<Self>, run: Vec<u8>, ctx: &mut Context<ProxyActor<Self>>) {
        if run.is_empty() {
            return;
        }
        let Self { link, downlink, .. } = &mut actor.face;
        let sent = link.send(Lane::Normal, Frame::from_encoded(Bytes::from(run)));
        for notice in downlink.due() {
            link.send(Lane::Normal, notice);
        }
        if sent == Sent::Gone {
            let code = link.closing().unwrap_or(CloseCode::GOING_AWAY);
            actor.on_client_gone(code, "the client's connection is closing".to_owned(), ctx);
        }
    }

    fn tell(&mut self, message: &SystemMessage, correlation_id: Option<&str>) {
        let notice = Frame::text(&message.encode(Speaker::Edge, None, correlation_id));
        if let Some(notice) = self.downlink.speak(notice) {
            self.link.send(Lane::Normal, notice);
        }
    }

    fn is_inside_message(&self) -> bool {
        self.downlink.is_inside()
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.link.close(code, reason, CloseMode::Flush);
    }
}
