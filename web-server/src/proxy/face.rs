//! What a [`ProxyActor`] needs of a face: the part that speaks with a client.
//!
//! The actor keeps a session at the broker. A face shows that session to its client in one
//! protocol: the WebSocket of browsers, events over HTTP, or another. A face owns the client's
//! connection and nothing of the broker's, so a further protocol is one implementation of this
//! trait.
//!
//! ```text
//!             start, on_linked, on_lost
//!  ProxyActor ─────────────────────────▶ Face ──▶ client
//!             poll_ready, on_frame, on_run, tell, close
//!
//!  ProxyActor ◀───────────────────────── Face ◀── client
//!             poll_uplink, uplink, pass_up, send_up, on_client_gone, on_client_end
//! ```

use std::task::{Context as Task, Poll};

use actix::Context;
use common::{close::CloseCode, message::SystemMessage};
use transport::{FrameError, frame::FrameHeader};

use super::{actor::ProxyActor, frame_runs::Verdict};

/// See the module.
pub trait Face: Sized + Unpin + 'static {
    /// The actor has started. The face begins to serve its client here, and reports the client's
    /// end later with `ProxyActor::on_client_end`, exactly once.
    fn start(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>);

    /// There is a connection to the broker. What the face sends now goes before everything that
    /// waited.
    fn on_linked(_actor: &mut ProxyActor<Self>, _ctx: &mut Context<ProxyActor<Self>>) {}

    /// The connection to the broker is gone, or the first try failed. The actor tries again by
    /// itself.
    fn on_lost(_actor: &mut ProxyActor<Self>, _ctx: &mut Context<ProxyActor<Self>>) {}

    /// Ready when the client takes more. Until then the broker is not read.
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()>;

    /// A whole frame from the broker, as it came: text, its fragments, pings and pongs. Frames that
    /// the face takes are handed to [`Face::on_run`] together.
    ///
    /// # Errors
    /// The frame does not follow from the one before. The broker's connection is given up.
    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError>;

    /// The end of one read from the broker: the frames that the face took of it, end to end. Empty
    /// if it took none.
    fn on_run(actor: &mut ProxyActor<Self>, run: Vec<u8>, ctx: &mut Context<ProxyActor<Self>>);

    /// The edge itself says something to the client; `correlation_id` names the client's frame that
    /// it answers.
    fn tell(&mut self, message: &SystemMessage, correlation_id: Option<&str>);

    /// Whether the client has the beginning of a message whose end is still to come from the
    /// broker.
    fn is_inside_message(&self) -> bool;

    /// Closes the client's connection.
    fn close(&mut self, code: CloseCode, reason: &str);
}
