//! A real server, a real client of another library, and an actor that echoes.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    task::{Context as Task, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context};
use actix_web::{App, HttpRequest, HttpResponse, web};
use common::{close::CloseCode, message::Speaker};
use futures_util::{SinkExt, StreamExt};
use tls::{ServerTls, Source, testing};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::{Message as ClientMessage, protocol::frame::coding::CloseCode as ClientCode};
use transport::{
    CloseMode, End, Frame, FrameError, Gate, GateRules, Inbound, Lane, Link, LinkPolicy, Message, MessageReader, Pump,
    ServeOptions, Step, flow::FlowPolicy, frame::Origin, message::MessageLimits,
};

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

struct EchoInbound {
    link: Arc<Link>,
    reader: MessageReader,
    peer_close: Option<End>,
}

impl Inbound<Echo> for EchoInbound {
    fn poll_ready(&mut self, _: &mut Echo, task: &mut Task<'_>) -> Poll<()> {
        self.link.poll_open(task)
    }

    fn on_bytes(&mut self, _: &mut Echo, bytes: &mut [u8], _: &mut Context<Echo>) -> Result<Step, FrameError> {
        let Self { link, reader, peer_close } = self;
        reader.feed(bytes, |message| {
            match message {
                Message::Text("flood") => {
                    let frame = Frame::text(&"x".repeat(1 << 20));
                    for _ in 0..64 {
                        link.send(Lane::Normal, frame.clone());
                    }
                }
                Message::Text(text) => drop(link.send(Lane::Normal, Frame::text(text))),
                Message::Ping(payload) => drop(link.send(Lane::Control, Frame::pong(payload))),
                Message::Pong(_) => {}
                Message::Close(close) => {
                    let code = close.map_or(CloseCode::NORMAL, |(code, _)| code);
                    link.close(code, "", CloseMode::Flush);
                    *peer_close = Some(End { code, reason: String::new() });
                }
            }
            Step::Continue
        })
    }

    fn on_closing(&mut self, _: &mut Echo, _: CloseCode, _: &mut Context<Echo>) {}

    fn peer_close(&self) -> Option<End> {
        self.peer_close.clone()
    }

    fn on_end(&mut self, _: &mut Echo, _: End, ctx: &mut Context<Echo>) {
        ctx.stop();
    }
}

fn policy(ping_interval: Duration) -> Arc<LinkPolicy> {
    Arc::new(LinkPolicy {
        outbox_bytes: 4 << 20,
        flow: FlowPolicy { burst_ms: 250, share: 0.05 },
        slow_consumer_timeout: Duration::from_millis(700),
        ping_interval,
        silence_timeout: Duration::from_secs(30),
        close_grace: Duration::from_secs(2),
        speaker: Speaker::Bridge,
        counts: transport::link::LinkCounts::default(),
    })
}

async fn echo(request: HttpRequest, policy: web::Data<LinkPolicy>) -> HttpResponse {
    let policy = policy.into_inner();
    let start = move |upgraded: transport::Upgraded| {
        let link = Link::new(policy);
        transport::sweeper::watch(Arc::clone(&link));
        let reader = MessageReader::new(Origin::Client, MessageLimits { max_bytes: 1 << 20, max_fragments: 8 });
        let inbound = EchoInbound { link: Arc::clone(&link), reader, peer_close: None };
        Echo::create(|ctx| {
            ctx.spawn(Pump::new(upgraded.socket, upgraded.leftover, link, inbound));
            Echo
        });
    };
    transport::accept(&request, start).unwrap_or_else(|error| HttpResponse::UpgradeRequired().body(error.to_string()))
}

fn start() -> (SocketAddr, actix_web::dev::ServerHandle) {
    start_with(None, Duration::from_millis(200))
}

fn start_with(tls: Option<Arc<ServerTls>>, ping_interval: Duration) -> (SocketAddr, actix_web::dev::ServerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("bound");
    let options = ServeOptions {
        tls,
        gate: Gate::new(GateRules::open()),
        workers: 1,
        handshake_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        faults: Arc::default(),
        max_in_flight: 100,
        shutdown_timeout: Duration::from_secs(1),
    };
    let policy = web::Data::from(policy(ping_interval));
    let server = transport::serve(listener, &options, move || {
        App::new().app_data(policy.clone()).route("/ws", web::get().to(echo)).route("/", web::get().to(HttpResponse::Ok))
    })
    .expect("serves");
    let handle = server.handle();
    actix_rt::spawn(server);
    (addr, handle)
}

#[actix_rt::test]
async fn a_foreign_client_is_echoed_byte_for_byte() {
    let (addr, server) = start();
    let (mut client, response) = tokio_tungstenite::connect_async(format!("ws://{addr}/ws")).await.expect("upgrades");
    assert!(response.headers().get("content-type").is_none());
    let big = "é".repeat(1 << 18);
    for text in ["", "hello", &big] {
        client.send(ClientMessage::text(text)).await.expect("sends");
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let ClientMessage::Text(text) = client.next().await.expect("open").expect("valid") {
            seen.push(text.to_string());
        }
    }
    assert_eq!(seen, ["", "hello", &big]);
    client.close(None).await.expect("closes");
    while let Some(Ok(_)) = client.next().await {}
    server.stop(false).await;
}

#[actix_rt::test]
async fn binary_is_closed_with_1003() {
    let (addr, server) = start();
    let (mut client, _) = tokio_tungstenite::connect_async(format!("ws://{addr}/ws")).await.expect("upgrades");
    client.send(ClientMessage::binary(vec![1])).await.expect("sends");
    let code = loop {
        match client.next().await {
            Some(Ok(ClientMessage::Close(Some(close)))) => break close.code,
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    };
    assert_eq!(code, ClientCode::Unsupported);
    server.stop(false).await;
}

#[actix_rt::test]
async fn a_plain_request_works_beside_and_a_bad_handshake_is_refused() {
    let (addr, server) = start();
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "426"),
        (
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
            "426",
        ),
        ("GET /none HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "404"),
    ] {
        let mut socket = TcpStream::connect(addr).await.expect("connects");
        socket.write_all(head.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("reads");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    server.stop(false).await;
}

#[actix_rt::test]
async fn slow_consumer_is_closed_with_its_code_even_after_it_stopped_reading() {
    let (addr, server) = start();
    let (mut client, _) = tokio_tungstenite::connect_async(format!("ws://{addr}/ws")).await.expect("upgrades");
    client.send(ClientMessage::text("flood")).await.expect("sends");
    // Nothing is read: the limit is 700 ms, then the close frame waits in the kernel.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let code = loop {
        match client.next().await {
            Some(Ok(ClientMessage::Close(Some(close)))) => break u16::from(close.code),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    };
    assert_eq!(code, 4008);
    server.stop(false).await;
}

#[actix_rt::test]
async fn bytes_held_by_tls_are_sent_when_the_peer_reads_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = testing::TestAuthority::new("test");
    let cert_file = authority.issue(&["echo.example"]).save(folder.path(), "cert.pem");
    let source = Source { key_file: cert_file.clone(), cert_file, challenges: None, client_ca_file: None };
    // No ping is sent in this test: what is left must be sent by itself.
    let (addr, server) = start_with(Some(ServerTls::open(source).expect("reads")), Duration::from_secs(600));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let tcp = socket.connect(addr).await.expect("connects");
    let name = "echo.example".to_owned().try_into().expect("a name");
    let stream = testing::connector(&authority, None).connect(name, tcp).await.expect("a handshake");
    let (mut client, _) = tokio_tungstenite::client_async("ws://echo.example/ws", stream).await.expect("upgrades");
    for size in [1_000_000, 900_001, 31] {
        let text = "t".repeat(size);
        client.send(ClientMessage::text(text.clone())).await.expect("sends");
        // Until the server has written as much as the kernel and TLS take.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let came = tokio::time::timeout(Duration::from_secs(10), client.next()).await.expect("the whole message");
        assert_eq!(came.expect("open").expect("valid"), ClientMessage::text(text));
    }
    client.close(None).await.expect("closes");
    while let Some(Ok(_)) = client.next().await {}
    server.stop(false).await;
}
