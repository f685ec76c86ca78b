//! A browser's socket to the edge.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::harness::{Edge, in_time};

pub struct Browser {
    pub session: String,
    pub token: String,
    pub socket: WebSocketStream<TcpStream>,
}

impl Edge {
    /// A session's id and token.
    pub async fn session(&self) -> (String, String) {
        let session = self.request("POST", "/api/client", &[]).await.json();
        let field = |name: &str| session[name].as_str().expect("a string").to_owned();
        (field("client_id"), field("token"))
    }

    /// A new session with its socket open.
    pub async fn browser(&self) -> Browser {
        let (session, token) = self.session().await;
        self.open("/ws", session, token).await
    }

    /// A socket at this path for an existing session.
    pub async fn open(&self, path: &str, session: String, token: String) -> Browser {
        let cookie = format!("agent_bridge_session={token}");
        let browser = self.open_with(path, &[("cookie", &cookie)]).await;
        Browser { session, token, ..browser }
    }

    /// A socket at this path with these headers as credentials.
    pub async fn open_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Browser {
        let mut request = format!("ws://{}{path}", self.host()).into_client_request().expect("a valid request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a valid header"));
        }
        request.headers_mut().insert("user-agent", "test browser".parse().expect("a valid header"));
        request.headers_mut().insert("origin", format!("http://{}", self.host()).parse().expect("a valid header"));
        let stream = TcpStream::connect(self.host()).await.expect("connects");
        let (socket, _) = in_time("an upgrade", client_async(request, stream)).await.expect("upgraded");
        Browser { session: String::new(), token: String::new(), socket }
    }
}

impl Browser {
    pub async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn send(&mut self, message: Message) {
        in_time("the edge takes a frame", self.socket.send(message)).await.expect("the edge is there");
    }

    pub async fn next(&mut self) -> Message {
        in_time("a message from the edge", self.socket.next()).await.expect("the edge is there").expect("a valid frame")
    }

    /// The next text message; pings and pongs are skipped.
    pub async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a text message: {other:?}"),
            }
        }
    }

    /// The next text message as an envelope.
    pub async fn envelope(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("an envelope")
    }

    /// The next `system:upstream` of this state; others of that type are skipped.
    pub async fn upstream(&mut self, state: &str) -> Value {
        loop {
            let envelope = self.envelope().await;
            assert_eq!((&envelope["type"], &envelope["source"]), (&"system:upstream".into(), &"edge".into()));
            if envelope["payload"]["state"] == state {
                return envelope;
            }
        }
    }

    /// Skips everything until this pong comes.
    pub async fn pong(&mut self, payload: &str) {
        let expected = Message::Pong(payload.to_owned().into());
        in_time("a pong", async { while self.next().await != expected {} }).await;
    }

    /// Sends what the library sends by itself, such as the answer to the last ping.
    pub async fn flush(&mut self) {
        in_time("the edge takes a frame", self.socket.flush()).await.expect("the edge is there");
    }

    /// The code and reason with which the edge closes; 1006 if it vanishes.
    pub async fn closed(mut self) -> (u16, String) {
        loop {
            match in_time("the edge closes", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the close. An error means that it was sent and the socket is
                    // gone.
                    let _ = in_time("the edge takes a close", self.socket.flush()).await;
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return (code, reason);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (1006, String::new()),
            }
        }
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        in_time("the edge takes a close", self.socket.close(Some(frame))).await.expect("the edge is there");
    }
}
