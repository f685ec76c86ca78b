//! A broker on a port of its own, and peers that send and expect frames.

use std::{sync::Arc, time::Duration};

use common::{
    assertion::{self, Acks, ClientIdentity, Login},
    audit::{Entry, Event},
    config::Settings,
    id::{AgentId, SessionId, UserId},
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};
use transport::{Frame, Lane};
use websocket_server::{Broker, BrokerHandle};

/// How long anything may take before a test fails.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The login of a user without a wallet.
pub fn login(user: &str) -> Login {
    Login { user: UserId::new(user).expect("a name"), wallet: None, scopes: Default::default() }
}

pub struct TestBroker {
    pub handle: BrokerHandle,
    pub settings: Settings,
}

impl TestBroker {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::for_tests();
        change(&mut settings);
        let handle = websocket_server::start(&settings).await.expect("the broker starts");
        Self { handle, settings }
    }

    pub async fn dial(&self, path: &str, authorization: Option<&str>) -> Result<Peer, u16> {
        let authorization: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        self.dial_headers(path, &authorization).await
    }

    pub async fn dial_with(&self, path: &str, authorization: &str, headers: &[(&'static str, &str)]) -> Result<Peer, u16> {
        self.dial_headers(path, &[&[("authorization", authorization)], headers].concat()).await
    }

    async fn dial_headers(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Peer, u16> {
        let mut request = format!("ws://{}{path}", self.handle.addr()).into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(self.peer(socket, None)),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no answer to the handshake: {error}"),
        }
    }

    /// A peer behind a socket that was upgraded.
    pub fn peer<S>(&self, socket: WebSocketStream<S>, session_id: Option<SessionId>) -> Peer<S> {
        Peer { socket, session_id, connection_id: None, broker: Arc::clone(self.handle.broker()) }
    }

    /// An agent that has its `connection:ack` and is registered.
    pub async fn agent(&self, agent_id: &str) -> Peer {
        let mut peer =
            self.dial(&format!("/ws/agent?agent_id={agent_id}"), Some("Bearer test-agent-key")).await.expect("upgraded");
        assert_eq!(peer.next().await["type"], "connection:ack");
        peer.settle().await;
        peer
    }

    /// An anonymous session that has its `connection:ack` and is registered.
    pub async fn session(&self) -> Peer {
        self.session_as(ClientIdentity::anonymous(SessionId::fresh())).await
    }

    pub async fn session_of_user(&self, user: &str) -> Peer {
        let mut identity = ClientIdentity::anonymous(SessionId::fresh());
        identity.login = Some(login(user));
        self.session_as(identity).await
    }

    pub async fn session_with(&self, agent: &str) -> Peer {
        let mut identity = ClientIdentity::anonymous(SessionId::fresh());
        identity.agent = AgentId::new(agent).ok();
        self.session_as(identity).await
    }

    pub async fn session_as(&self, identity: ClientIdentity) -> Peer {
        let mut peer = self.dial_session(&identity).await.expect("upgraded");
        assert_eq!(peer.next().await["type"], "connection:ack");
        peer.settle().await;
        peer
    }

    pub async fn dial_session(&self, identity: &ClientIdentity) -> Result<Peer, u16> {
        let assertion = assertion::mint(identity, &self.settings.broker.bridge_secret).expect("signs");
        let path = format!("/ws/client/{}", identity.session_id);
        let mut peer = self.dial(&path, Some(&format!("Bearer {assertion}"))).await?;
        peer.session_id = Some(identity.session_id);
        Ok(peer)
    }

    /// What the store knows about a channel.
    pub async fn channel(&self, name: &str) -> store::ChannelInfo {
        let channel = store::ChannelName::parse(name).expect("a channel");
        self.handle.broker().channels.store().channel(channel).await.expect("read").expect("a channel that was used")
    }

    /// The entries of this kind in the audit log, the newest first.
    pub async fn noted(&self, kind: Event) -> Vec<Entry> {
        let (broker, store) = (self.handle.broker(), self.handle.broker().channels.store());
        store.audit(broker.audit.take().into_entries()).await.expect("written");
        let query = store::AuditQuery { kind: Some(kind), limit: 1000, ..Default::default() };
        let rows = store.audit_log(query).await.expect("read");
        rows.into_iter().map(|row| row.entry).collect()
    }

    /// A plain HTTP request: status and body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.get_with(path, "").await
    }

    /// The same with additional header lines.
    pub async fn get_with(&self, path: &str, headers: &str) -> (u16, Value) {
        self.ask("GET", path, headers).await
    }

    /// A request with these header lines, each with its line end: status and body.
    pub async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        self.ask_with(method, path, headers, "").await
    }

    /// The same with a body.
    pub async fn ask_with(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask_for_text(method, path, headers, body).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// A plain HTTP request: status and body as text.
    pub async fn text(&self, path: &str) -> (u16, String) {
        self.ask_for_text("GET", path, "", "").await
    }

    async fn ask_for_text(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.handle.addr()).await.expect("connects");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("reads");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let body = if answer.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            body.split("\r\n").nth(1).unwrap_or_default()
        } else {
            body
        };
        (status, body.to_owned())
    }

    /// A request under another name, with these header lines: status and body, or only the status
    /// after an upgrade.
    pub async fn ask_under(&self, host: &str, method: &str, target: &str, headers: &str) -> (u16, Value) {
        let mut socket = TcpStream::connect(self.handle.addr()).await.expect("connects");
        let close = if headers.contains("Connection:") { "" } else { "Connection: close\r\n" };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{close}{headers}\r\n");
        socket.write_all(request.as_bytes()).await.expect("writes");
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.expect("a status line");
        let status = std::str::from_utf8(&head[9..]).ok().and_then(|status| status.parse().ok()).expect("a status");
        if status == 101 {
            return (status, Value::Null);
        }
        socket.shutdown().await.expect("half closes");
        let mut answer = String::new();
        timeout(LIMIT, socket.read_to_string(&mut answer)).await.expect("in time").expect("reads");
        (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap_or(Value::Null))
    }

    pub async fn stats(&self) -> Value {
        let token = self.settings.broker.operator_token.reveal();
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        self.get_with("/stats", &authorization).await.1
    }
}

/// Waits until `check` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(LIMIT, waiting).await.is_ok(), "never: {what}");
}

/// The first answer with 429 of at most ten, or the last one. If requests are so far apart that the
/// rate has refilled, as on a busy machine, they are let through. `ask` gets the number of the
/// attempt.
pub async fn until_refused(mut ask: impl AsyncFnMut(usize) -> (u16, Value)) -> (u16, Value) {
    for attempt in 0..9 {
        let answer = ask(attempt).await;
        if answer.0 == 429 {
            return answer;
        }
    }
    ask(9).await
}

pub struct Peer<S = MaybeTlsStream<TcpStream>> {
    pub socket: WebSocketStream<S>,
    pub session_id: Option<SessionId>,
    /// As its `connection:ack` has said.
    connection_id: Option<String>,
    broker: Arc<Broker>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Code(u16),
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the socket takes a frame");
    }

    /// The next frame, whatever it is.
    pub async fn next(&mut self) -> Value {
        let text = self.next_text().await;
        let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
        if frame["type"] == "connection:ack" {
            self.connection_id = frame["payload"]["connection_id"].as_str().map(str::to_owned);
        }
        frame
    }

    pub async fn next_text(&mut self) -> String {
        // One limit for the frame: pings on the way do not prolong it.
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            match tokio::time::timeout_at(deadline, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    /// The next frame of this type; others are skipped.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The payload of the next `system:error`, which must have this code.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.expect("system:error").await;
        assert_eq!(frame["payload"]["code"], code, "{frame}");
        frame
    }

    /// Waits until everything sent before has been handled.
    pub async fn settle(&mut self) {
        let mark = uuid();
        self.send(json!({"type":"agent:list","id":mark})).await;
        while self.expect("agent:listed").await["correlation_id"] != mark {}
    }

    /// Fails if anything but notices came or is on its way.
    ///
    /// The brokers of these tests have one thread. When it has answered twice, it has routed what
    /// all peers had sent before. Answers overtake what waits in lower lanes, and catch-ups read
    /// the store beside the router. So the last frame to wait for is a mark in the lowest lane,
    /// put there when no catch-up of this peer has anything left to read.
    pub async fn expect_nothing(&mut self) {
        let id = self.connection_id.clone().expect("its connection:ack was read");
        let find = |broker: &Broker| {
            let router = broker.router.read();
            let found = router.peers().chain(router.waiting_agents()).find(|peer| peer.id.to_string() == id);
            Arc::clone(found.expect("a registered connection"))
        };
        self.expect_only_notices_until_listed().await;
        self.expect_only_notices_until_listed().await;
        let peer = find(&self.broker);
        if peer.reading.acks == Acks::Automatic && !peer.reading.resume {
            let channels = &self.broker.channels;
            let is_live = || peer.inboxes().all(|inbox| channels.is_live(&inbox, peer.id));
            eventually("its inboxes are live", async || is_live()).await;
        }
        // The reader of a topic, or one without a free place, stays behind. Its catch-up takes a
        // few reads of the store until it has nothing to do.
        for _ in 0..3 {
            self.broker.channels.store().state("none".to_owned()).await.expect("read");
            self.expect_only_notices_until_listed().await;
        }
        let mark = uuid();
        let frame = json!({"type":"test:mark","correlation_id":mark}).to_string();
        assert!(peer.link.send(Lane::Low, Frame::text(&frame)).is_queued(), "its outbox is full");
        self.expect_only_notices_until(&mark).await;
    }

    async fn expect_only_notices_until_listed(&mut self) {
        let mark = uuid();
        self.send(json!({"type":"agent:list","id":mark})).await;
        self.expect_only_notices_until(&mark).await;
    }

    async fn expect_only_notices_until(&mut self, mark: &str) {
        loop {
            let frame = self.next().await;
            if frame["correlation_id"] == mark {
                return;
            }
            let notices = ["agent:connected", "agent:disconnected", "agent:updated", "session:connected", "session:disconnected"];
            assert!(notices.iter().any(|kind| frame["type"] == *kind), "unexpected: {frame}");
        }
    }

    /// Reads on until the connection ends.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match timeout(LIMIT, self.socket.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(Some(close)))) => return Ended::Code(close.code.into()),
                Some(Ok(Message::Close(None))) => return Ended::Code(1005),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ended::Broken,
            }
        }
    }

    pub async fn close(mut self) {
        self.socket.close(None).await.expect("closes");
        self.ended().await;
    }

    pub fn address(&self) -> String {
        format!("session:{}", self.session_id.expect("a session"))
    }
}

fn uuid() -> String {
    SessionId::fresh().to_string()
}
