//! `POST /api/v1/messages`: sends one message. The answer is its confirmation.

use std::time::Duration;

use common::error::{ClientError, ErrorCode};
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use super::{
    body::PublishBody,
    caller::{Caller, Line},
    outcome::{Stored, Told},
};

/// How long the store may take to confirm a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a message.
enum Sent {
    /// It is stored.
    Stored(Stored),
    /// It is on its way, and is not stored.
    OnItsWay,
}

/// Sends a message. Returns `{"id","delivery","channel","epoch","seq","duplicate"}` once it is
/// stored, or `{"id","delivery"}` for an ephemeral one.
///
/// # Errors
/// Those of a message on a socket, `rate_limited`; `store_unavailable` if it is not confirmed in
/// time.
pub async fn publish(caller: &Caller, body: &[u8]) -> Result<String, ClientError> {
    caller.charge(body.len())?;
    let PublishBody { text, id } = PublishBody::read(body)?;
    let message = caller.read(&text)?;
    let is_durable = message.is_durable;
    let routed = caller.line.submit(message).await;
    let unconfirmed = "the message is not confirmed yet: send it again under the same id";
    let sent = timeout(PATIENCE, settled(&caller.line, &id, is_durable, routed))
        .await
        .map_err(|_| ClientError::with_message(ErrorCode::StoreUnavailable, unconfirmed))??;
    caller.line.pause().await;
    let answer = match sent {
        Sent::Stored(Stored { channel, epoch, seq, duplicate }) => {
            json!({"id": id, "delivery": "durable", "channel": channel, "epoch": epoch, "seq": seq, "duplicate": duplicate})
        }
        Sent::OnItsWay => json!({"id": id, "delivery": "ephemeral"}),
    };
    Ok(answer.to_string())
}

async fn settled(line: &Line, id: &str, is_durable: bool, routed: oneshot::Receiver<()>) -> Result<Sent, ClientError> {
    if routed.await.is_ok() && !is_durable {
        return Ok(Sent::OnItsWay);
    }
    loop {
        let frames = line.frames().await;
        for told in frames.iter().filter_map(|frame| Told::about(frame, id)) {
            if let Some(error) = told.error() {
                return Err(error);
            }
            if let Some(stored) = told.stored() {
                return Ok(Sent::Stored(stored));
            }
        }
        if frames.is_empty() {
            // The link is over: the broker stops.
            return Err(ErrorCode::NotReady.into());
        }
    }
}
