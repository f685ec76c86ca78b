//! A broker under a test's control: accepts or refuses, speaks, closes, vanishes.

use std::{net::SocketAddr, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::harness::in_time;

/// The fake broker. Dropping it closes its port and everything it accepted but did not hand out.
pub struct Broker {
    pub addr: SocketAddr,
    links: mpsc::UnboundedReceiver<BrokerLink>,
    refusal: Arc<Mutex<Option<u16>>>,
    acceptor: JoinHandle<()>,
}

/// One connection from the edge.
pub struct BrokerLink {
    pub path: String,
    pub authorization: String,
    pub socket: WebSocketStream<TcpStream>,
}

impl Broker {
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// A broker at the address of a former one.
    pub async fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the port is free");
        let addr = listener.local_addr().expect("bound");
        let refusal = Arc::new(Mutex::new(None));
        let (hand_out, links) = mpsc::unbounded_channel();
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&refusal), hand_out));
        Self { addr, links, refusal, acceptor }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Refuses handshakes with this status from now on.
    pub fn refuse(&self, status: Option<u16>) {
        *self.refusal.lock() = status;
    }

    /// The next connection from the edge.
    pub async fn link(&mut self) -> BrokerLink {
        in_time("a connection from the edge", self.links.recv()).await.expect("the broker runs")
    }

    /// Closes the port, and returns the address for the next broker.
    pub async fn stop(mut self) -> SocketAddr {
        self.acceptor.abort();
        let _ = (&mut self.acceptor).await;
        self.addr
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept_all(listener: TcpListener, refusal: Arc<Mutex<Option<u16>>>, hand_out: mpsc::UnboundedSender<BrokerLink>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (mut path, mut authorization) = (String::new(), String::new());
        let status = *refusal.lock();
        #[allow(clippy::result_large_err, reason = "the library's signature")]
        let look = |request: &Request, response: Response| {
            path = request.uri().to_string();
            let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            authorization = header.unwrap_or_default().to_owned();
            match status {
                Some(status) => {
                    let mut refused = ErrorResponse::new(None);
                    *refused.status_mut() = status.try_into().expect("a status");
                    Err(refused)
                }
                None => Ok(response),
            }
        };
        if let Ok(socket) = accept_hdr_async(socket, look).await {
            let _ = hand_out.send(BrokerLink { path, authorization, socket });
        }
    }
}

impl BrokerLink {
    pub async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn send(&mut self, message: Message) {
        in_time("the edge takes a frame", self.socket.send(message)).await.expect("the edge is there");
    }

    /// Sends what the library sends by itself, such as the answer to the last ping.
    pub async fn flush(&mut self) {
        in_time("the edge takes a frame", self.socket.flush()).await.expect("the edge is there");
    }

    /// The next message from the edge.
    pub async fn next(&mut self) -> Message {
        in_time("a message from the edge", self.socket.next()).await.expect("the edge is there").expect("a valid frame")
    }

    pub async fn text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("not a text message: {other:?}"),
        }
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        in_time("the edge takes a close", self.socket.close(Some(frame))).await.expect("the edge is there");
    }

    /// The code with which the edge closes; 1006 if it vanishes.
    pub async fn closed(mut self) -> u16 {
        loop {
            match in_time("the edge closes", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the close. An error means that it was sent and the socket is
                    // gone.
                    let _ = in_time("the edge takes a close", self.socket.flush()).await;
                    return frame.map_or(1005, |frame| frame.code.into());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 1006,
            }
        }
    }
}
