//! One WebSocket: a client program at the edge, or an agent at the broker.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

use super::in_time;

/// See the module.
pub struct Peer<S = TcpStream> {
    socket: WebSocketStream<S>,
}

/// Why there is no socket.
#[derive(Debug)]
pub enum DialError {
    /// The HTTP status of the refusal.
    Refused(u16),
    /// Nobody listened, or the connection broke.
    Broken,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Code(u16),
    Broken,
}

impl Peer {
    /// Opens a socket with credentials.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(addr: SocketAddr, path: &str, bearer: &str) -> Result<Self, DialError> {
        Self::dial_over(TcpSocket::new_v4().expect("a socket"), addr, path, bearer).await
    }

    /// The same, with the kernel's smallest receive buffer: what it does not read waits at the
    /// server.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial_with_a_small_buffer(addr: SocketAddr, path: &str, bearer: &str) -> Result<Self, DialError> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("set");
        Self::dial_over(socket, addr, path, bearer).await
    }

    /// The same from another address of this machine.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial_from(source: Ipv4Addr, addr: SocketAddr, path: &str, bearer: &str) -> Result<Self, DialError> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).map_err(|_| DialError::Broken)?;
        Self::dial_over(socket, addr, path, bearer).await
    }

    async fn dial_over(socket: TcpSocket, addr: SocketAddr, path: &str, bearer: &str) -> Result<Self, DialError> {
        let mut request = format!("ws://{addr}{path}").into_client_request().expect("a request");
        let bearer = HeaderValue::from_str(&format!("Bearer {bearer}")).expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let dialled = in_time("an answer to the handshake", async {
            let stream = socket.connect(addr).await.map_err(|_| DialError::Broken)?;
            stream.set_nodelay(true).map_err(|_| DialError::Broken)?;
            client_async(request, stream).await.map_err(|error| match error {
                tungstenite::Error::Http(response) => DialError::Refused(response.status().as_u16()),
                _ => DialError::Broken,
            })
        });
        let (socket, _) = dialled.await?;
        Ok(Self { socket })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A socket that was opened some other way.
    pub fn of(socket: WebSocketStream<S>) -> Self {
        Self { socket }
    }

    /// Sends a frame; the connection must be there.
    pub async fn send(&mut self, frame: Value) {
        self.try_send(frame).await.expect("the socket takes a frame");
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn try_send(&mut self, frame: Value) -> Result<(), Ended> {
        let sent = in_time("the socket takes a frame", self.socket.send(Message::text(frame.to_string()))).await;
        sent.map_err(|_| Ended::Broken)
    }

    /// Sends a frame, however long the socket takes to accept it.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn feed(&mut self, frame: Value) -> Result<(), Ended> {
        self.socket.send(Message::text(frame.to_string())).await.map_err(|_| Ended::Broken)
    }

    /// Writes bytes unchanged: frames that no library makes, or parts of one.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        in_time("the socket takes bytes", self.socket.get_mut().write_all(bytes)).await.expect("the connection is there");
    }

    /// Sends a `message:send` that is a request.
    pub async fn ask(&mut self, id: &str, target: &str, payload: Value, timeout_ms: u32) {
        self.send(question(id, target, payload, timeout_ms)).await;
    }

    /// The next frame, whatever it is; the connection must be there.
    pub async fn next(&mut self) -> Value {
        match self.try_next().await {
            Ok(frame) => frame,
            Err(ended) => panic!("no frame: the connection ended, {ended:?}"),
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn try_next(&mut self) -> Result<Value, Ended> {
        in_time("a frame", self.receive()).await
    }

    /// The next frame, however long it takes.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn receive(&mut self) -> Result<Value, Ended> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("frames are JSON")),
                Some(Ok(Message::Close(close))) => return Err(Ended::Code(close.map_or(1005, |close| close.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Ended::Broken),
            }
        }
    }

    /// The next frame of this type; others are skipped, except errors.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
            assert_ne!(frame["type"], "system:error", "{frame}");
        }
    }

    /// The next error; other frames are skipped.
    pub async fn expect_error(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == "system:error" {
                return frame;
            }
        }
    }

    /// The answer to the message with this id, or the error; others are skipped.
    pub async fn answer_to(&mut self, id: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["correlation_id"] == id {
                return frame;
            }
        }
    }

    /// The first frame, which states the session.
    pub async fn expect_ack(&mut self, session_id: &str) {
        let ack = self.next().await;
        assert_eq!((&ack["type"], &ack["payload"]["session_id"]), (&json!("connection:ack"), &json!(session_id)), "{ack}");
    }

    /// Waits until everything sent before has been handled, and returns what came until then.
    pub async fn settle(&mut self) -> Vec<Value> {
        let mark = uuid::Uuid::new_v4().to_string();
        self.send(json!({"type":"agent:list","id":mark})).await;
        let mut came = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["correlation_id"] == mark {
                return came;
            }
            came.push(frame);
        }
    }

    /// Closes, and reads on until the connection ends.
    pub async fn close(mut self) -> Ended {
        in_time("the socket takes a close", self.socket.close(None)).await.expect("the connection is there");
        self.ended().await
    }

    /// Reads on until the connection ends.
    pub async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.try_next().await {
                // The library sends its answer to a close with the next read.
                if ended != Ended::Broken {
                    let _ = self.try_next().await;
                }
                return ended;
            }
        }
    }
}

/// A `message:send` that is a request.
pub fn question(id: &str, target: &str, payload: Value, timeout_ms: u32) -> Value {
    json!({"type":"message:send","id":id,"target":target,"payload":payload,"timeout_ms":timeout_ms})
}
