//! One connection of the demo agent to the broker: opened, served until it ends, and its end told.
//!
//! Owns the socket. What is said is the [`Desk`]'s business, whether to come back is the caller's.

use std::time::Duration;

use common::close::CloseCode;
use common::config::ws_authority;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error as WsError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use transport::{Stream, connect};

use super::desk::Desk;
use super::frames::{Incoming, Outgoing};

type Socket = WebSocketStream<Stream>;

/// How long connecting, and each write, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the broker may be silent, until its `connection:ack` says otherwise.
const DEFAULT_SILENCE: Duration = Duration::from_secs(30);

/// How a connection ended.
#[derive(Debug)]
pub enum Ending {
    /// The caller's shutdown came.
    Shutdown,
    /// It never came about, for now: nobody listens, or the server says to come back later.
    Unreachable(String),
    /// The server refused it for good: its HTTP status and what it said.
    Refused(u16, String),
    /// No request can be made of what was configured.
    Misconfigured(String),
    /// The server closed it with a code.
    Closed(CloseCode, String),
    /// It broke off without a close.
    Lost(String),
}

/// Connects, registers, and answers until the connection ends or `shutdown` is ready.
pub async fn serve(options: &super::DemoOptions, mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>) -> Ending {
    let opened = tokio::select! {
        opened = open(options) => opened,
        () = &mut shutdown => return Ending::Shutdown,
    };
    let mut socket = match opened {
        Ok(socket) => socket,
        Err(ending) => return ending,
    };
    tracing::info!(agent = %options.agent_id, url = %options.url, "demo agent is connected");
    let mut desk = Desk::new(options.max_concurrency, options.token_pace);
    let register = Outgoing::register(&options.agent_id, options.max_concurrency);
    if let Err(ending) = write(&mut socket, vec![register]).await {
        return ending;
    }
    let mut silence = DEFAULT_SILENCE;
    let mut heard = Instant::now();
    loop {
        let out = tokio::select! {
            () = &mut shutdown => {
                let goodbye = CloseFrame { code: CloseCode::NORMAL.0.into(), reason: "demo agent stops".into() };
                // The process ends either way.
                let _ = timeout(GOODBYE, socket.close(Some(goodbye))).await;
                return Ending::Shutdown;
            }
            received = timeout_at(heard + silence, socket.next()) => {
                heard = Instant::now();
                match received {
                    Err(_) => return Ending::Lost(format!("nothing was heard from the broker for {silence:?}")),
                    Ok(None) => return Ending::Lost("the connection ended without a close".into()),
                    Ok(Some(Err(error))) => return Ending::Lost(error.to_string()),
                    Ok(Some(Ok(Message::Close(frame)))) => {
                        // The library's answer to the close goes out with the next read.
                        let _ = timeout(GOODBYE, socket.next()).await;
                        return closed(frame);
                    }
                    Ok(Some(Ok(Message::Text(text)))) => match serde_json::from_str::<Incoming>(&text) {
                        Ok(frame) => {
                            silence = allowed_silence(&frame).unwrap_or(silence);
                            desk.on_frame(&frame, heard)
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a frame from the broker cannot be read");
                            Vec::new()
                        }
                    },
                    // Pings are answered by the library with the next write or read.
                    Ok(Some(Ok(_))) => Vec::new(),
                }
            }
            () = wake(desk.next_due()) => desk.on_due(Instant::now()),
        };
        if let Err(ending) = write(&mut socket, out).await {
            return ending;
        }
    }
}

async fn wake(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn open(options: &super::DemoOptions) -> Result<Socket, Ending> {
    let super::DemoOptions { url, tls, agent_id, key, .. } = options;
    let mut request =
        endpoint(url, agent_id).into_client_request().map_err(|error| Ending::Misconfigured(format!("{url}: {error}")))?;
    let mut credentials = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
        .map_err(|_| Ending::Misconfigured("the agent key cannot be sent in a header".into()))?;
    credentials.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, credentials);
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(8 * 1024);
    let opening = async {
        let stream = connect(&ws_authority(url), tls.as_deref()).await?;
        client_async_with_config(request, stream, Some(config)).await
    };
    match timeout(PATIENCE, opening).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(WsError::Http(response))) => Err(refused(&response)),
        Ok(Err(error)) => Err(Ending::Unreachable(error.to_string())),
        Err(_) => Err(Ending::Unreachable("the broker does not answer".into())),
    }
}

/// The address of the agents' endpoint; `+` would be read as a space in a query.
fn endpoint(url: &str, agent_id: &str) -> String {
    format!("{}/ws/agent?agent_id={}", url.trim_end_matches('/'), agent_id.replace('+', "%2B"))
}

fn refused(response: &Response<Option<Vec<u8>>>) -> Ending {
    let status = response.status().as_u16();
    // The library hands out what of the body came along with the head, which may be nothing.
    let body: Value = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or(match status {
        401 => "the agent key is none of the broker's: set AGENT_TOKEN",
        404 => "there is no broker at this address",
        _ => "no reason was given",
    });
    match status {
        408 | 425 | 429 | 500.. => Ending::Unreachable(format!("the broker answered {status}: {message}")),
        _ => Ending::Refused(status, message.to_owned()),
    }
}

fn closed(frame: Option<CloseFrame>) -> Ending {
    match frame {
        Some(frame) => Ending::Closed(CloseCode(frame.code.into()), frame.reason.to_string()),
        None => Ending::Lost("the broker closed without a code".into()),
    }
}

fn allowed_silence(frame: &Incoming) -> Option<Duration> {
    let timeout = frame.payload.pointer("/heartbeat/timeout_ms").filter(|_| frame.kind == "connection:ack")?.as_u64()?;
    Some(Duration::from_millis(timeout.max(1)))
}

async fn write(socket: &mut Socket, frames: Vec<Outgoing>) -> Result<(), Ending> {
    if frames.is_empty() {
        return Ok(());
    }
    let all = async {
        for frame in frames {
            let text = serde_json::to_string(&frame).map_err(|error| tungstenite::Error::Io(error.into()))?;
            socket.feed(Message::text(text)).await?;
        }
        socket.flush().await
    };
    match timeout(PATIENCE, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ending::Lost(error.to_string())),
        Err(_) => Err(Ending::Lost("the broker does not read".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_the_agents_path_with_the_id() {
        assert_eq!(endpoint("ws://127.0.0.1:8080", "demo"), "ws://127.0.0.1:8080/ws/agent?agent_id=demo");
        assert_eq!(endpoint("ws://b/", "a+b"), "ws://b/ws/agent?agent_id=a%2Bb");
    }

    #[test]
    fn silence_is_what_the_ack_says() {
        let frame: Incoming =
            serde_json::from_str(r#"{"type":"connection:ack","payload":{"heartbeat":{"timeout_ms":700}}}"#).unwrap();
        assert_eq!(allowed_silence(&frame), Some(Duration::from_millis(700)));
        assert_eq!(allowed_silence(&Incoming { kind: "message:send".into(), ..frame }), None);
    }

    #[test]
    fn overloaded_broker_is_tried_again_and_a_wrong_key_is_not() {
        let answer = |status: u16| {
            let body = br#"{"error":{"code":"x","message":"why","temporary":true}}"#.to_vec();
            refused(&Response::builder().status(status).body(Some(body)).unwrap())
        };
        assert!(matches!(answer(503), Ending::Unreachable(why) if why.contains("why")));
        assert!(matches!(answer(429), Ending::Unreachable(_)));
        assert!(matches!(answer(401), Ending::Refused(401, why) if why == "why"));
    }
}
